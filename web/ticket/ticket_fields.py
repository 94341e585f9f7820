"""The fields of a ticket as a person edits them: the form of each, and what a submitted form says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict

from database import Session
from tickets.lifecycle import editing
from tickets.shared.errors import NotFound
from web.site import forms
from web.team.project_pages import GATES

Form = MultiDict[str, str]
View = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """`kind` is text, prose, select, tags, moment or flag; a choice of `nothing` clears the field."""

    name: str
    label: str
    kind: str
    choices: str = ""
    nothing: str = ""
    help: str = ""

    def read(self, form: Form, zone: str) -> Any:
        """What the form says, as `EditTicket` takes it."""
        text = form.get(self.name, "").strip()
        if self.kind == "tags":
            return form.getlist(self.name)
        if self.kind == "flag":
            return text == "yes"
        if self.kind == "moment":
            return forms.parse_local_time(text, zone) if text else None
        if self.kind == "prose":
            return form.get(self.name, "").replace("\r\n", "\n")
        return text or (None if self.nothing else "")

    def view(self, ticket: Mapping[str, Any], choices: Mapping[str, Any], zone: str) -> View:
        """The form that shows the field as it is; `sign` tells later what was read."""
        present = ticket[self.name]
        value = forms.format_local_time(present, zone) if self.kind == "moment" else present or ""
        return {
            "name": self.name,
            "label": self.label,
            "kind": self.kind,
            "help": self.help or (f"In {zone}." if self.kind == "moment" else None),
            "value": value,
            "options": self._options(choices, value),
            "sign": editing.fingerprint_value(present),
        }

    def _options(self, choices: Mapping[str, Any], value: Any) -> list[tuple[str, str]]:
        """What may be chosen, and what is chosen now even where nobody could choose it any more."""
        options = list(choices.get(self.choices, ()))
        if self.kind == "select" and value and value not in dict(options):
            options.append((value, value))
        return [("", self.nothing), *options] if self.nothing else options


FIELDS = {
    field.name: field
    for field in (
        Field("title", "Title", "text"),
        Field("description", "Description", "prose"),
        Field("priority", "Priority", "select", "priority"),
        Field("assigned_to", "Owner", "select", "assigned_to", "Nobody yet"),
        Field(
            "campaign_owner",
            "Held by",
            "select",
            "assigned_to",
            "Nobody",
            "While somebody holds it, it is not started.",
        ),
        Field("project", "Project", "select", "project", "No project"),
        Field("gate", "Done when", "select", "gate"),
        Field("tags", "Tags", "tags", "tag"),
        Field("not_before", "Not before", "moment"),
        Field("expected_check_in", "Check-in", "moment"),
        Field("archived", "Archive", "flag", help="An archived ticket is not on the board; nothing of it is deleted."),
    )
}


def find_field(name: str) -> Field:
    field = FIELDS.get(name)
    if field is None:
        raise NotFound("A ticket has no field of that name that could be edited here.", field=name[:40])
    return field


def load_choices(session: Session) -> dict[str, Any]:
    return forms.load_choices(session) | {"gate": [(gate.value, words) for gate, words in GATES.items()]}


def build_field_views(session: Session, ticket: Mapping[str, Any], zone: str) -> dict[str, View]:
    """The forms of all fields by name."""
    options = load_choices(session)
    return {field.name: field.view(ticket, options, zone) for field in FIELDS.values()}
