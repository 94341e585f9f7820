"""Forms of moves: their fields come from the same models that validate them, so that no page can offer another shape."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from models import Landing, Priority, Session, Tag, TicketStatus
from tickets import landing, projects, team
from tickets.facts import NewTicket, ParkFacts
from tickets.lifecycle import Move

from . import wording

Field = dict[str, Any]
LONG = {"body", "note", "waive", "next_action"}
EDITS = {"assigned_to", "priority"}
WAKES = [("manual", "When somebody wakes it"), ("time", "At a time"), ("ticket", "When another ticket is done")]


def fields_of(move: Move, ways: Sequence[Landing] = ()) -> list[Field]:
    """The form fields of a move, the required ones first; the edits that any move may carry are left to the side panel.

    `ways` are those in which the ticket may be approved, as `landing.ways` gives them.
    """
    if move.facts is ParkFacts:
        return _park_fields()
    left_out = EDITS if ways else EDITS | {"landing"}
    named = [(name, info) for name, info in move.facts.model_fields.items() if name not in left_out]
    made = [_field(name, info.title or name, info.annotation, info.is_required()) for name, info in named]
    for field in made:
        if field["name"] == "landing":
            field |= {"options": [(way.value, landing.WAYS[way]) for way in ways], "value": ways[0].value}
    return sorted(made, key=lambda field: not field["required"])


def _field(name: str, label: str, annotation: Any, required: bool) -> Field:
    choices = _choices(annotation)
    kind = (
        "select" if choices else "textarea" if name in LONG else "datetime-local" if annotation is datetime else "text"
    )
    return {"name": name, "label": label, "type": kind, "required": required, "options": choices, "value": ""}


def _choices(annotation: Any) -> list[tuple[str, str]]:
    kinds = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return [(str(member.value), _words(str(member.value))) for member in kind]
        if get_origin(kind) is Literal:
            return [(value, _words(value)) for value in get_args(kind)]
    return []


def _words(value: str) -> str:
    return value.replace("_", " ").capitalize()


def _park_fields() -> list[Field]:
    return [
        {
            "name": "wake_kind",
            "label": "Wake it",
            "type": "select",
            "required": True,
            "options": WAKES,
            "value": "manual",
        },
        {"name": "wake_at", "label": "At", "type": "datetime-local", "required": False, "help": "Only for a time."},
        {
            "name": "wake_ticket",
            "label": "When done",
            "type": "text",
            "required": False,
            "help": "MC-12; only for a ticket.",
        },
        {"name": "note", "label": "Note", "type": "textarea", "required": False},
    ]


def facts_from(move: Move, form: MultiDict[str, str], zone: str) -> dict[str, Any]:
    """The facts that a submitted form states; empty fields are left out, local times get the zone of the settings."""
    if move.facts is ParkFacts:
        return {"wake": _wake(form, zone)} | ({"note": form["note"]} if form.get("note") else {})
    facts = {name: form[name] for name in move.facts.model_fields if form.get(name)}
    if "not_before" in facts:
        facts["not_before"] = moment(facts["not_before"], zone)
    return facts


def _wake(form: MultiDict[str, str], zone: str) -> dict[str, Any]:
    wake: dict[str, Any] = {"kind": form.get("wake_kind", "manual")}
    if form.get("wake_at") and wake["kind"] == "time":
        wake["at"] = moment(form["wake_at"], zone)
    if form.get("wake_ticket") and wake["kind"] == "ticket":
        wake["ticket"] = form["wake_ticket"].strip().upper()
    return wake


def moment(text: str, zone: str) -> str:
    """`2026-05-01T09:00` from a browser's field, as a moment in the zone of the settings."""
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone))).isoformat()


def local(value: datetime | str | None, zone: str) -> str:
    """The inverse of `moment`: how a browser's field shows a moment."""
    if not value:
        return ""
    return wording.moment(value).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M")


def choices(session: Session) -> dict[str, list[tuple[str, str]]]:
    """What may be chosen in the fields of a ticket, as (value, label)."""
    return {
        "project": [(project.slug, project.name) for project in projects.all_projects(session)],
        "assigned_to": [(member.name, member.title or member.name) for member in team.members(session)],
        "priority": [(priority.label, priority.label.capitalize()) for priority in reversed(Priority)],
        "tag": [(tag.value, tag.value.capitalize()) for tag in Tag],
    }


def new_ticket(form: MultiDict[str, str], zone: str) -> NewTicket:
    """The ticket that the new-ticket form describes; raises pydantic's ValidationError for the form to show."""
    given: dict[str, Any] = {
        name: form[name]
        for name in ("title", "description", "priority", "assigned_to", "project", "status")
        if form.get(name)
    }
    given["tags"] = form.getlist("tags")
    given["acceptance"] = [{"text": line.strip()} for line in form.get("acceptance", "").splitlines() if line.strip()]
    if form.get("not_before"):
        given["not_before"] = moment(form["not_before"], zone)
    if form.get("after"):
        given["status"] = TicketStatus.WAITING.value
        given["wake"] = {"kind": "ticket", "ticket": form["after"].strip().upper()}
    return NewTicket.model_validate(given)


def query_string(arguments: MultiDict[str, str]) -> str:
    """The arguments as they stand in an address."""
    return urlencode(list(arguments.items(multi=True)))
