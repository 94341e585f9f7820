"""The one line with which a new ticket begins, and the chips that show which fields it sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, request
from werkzeug.datastructures import MultiDict

import auth
from database import Session, reading
from models import now
from tickets.lifecycle.ticket_line import DUE, START, ParsedLine, Token, load_names, parse_line
from tickets.team import projects
from web.site import forms, layout

blueprint = Blueprint("ticket_line", __name__)

Form = MultiDict[str, str]
ICONS = {
    "tags": "tag",
    "assigned_to": "user",
    "priority": "flag",
    "project": "folder-git-2",
    START: "clock",
    DUE: "timer",
}
KINDS = {"#": "tag", "@": "member of the team", "!": "priority", "+": "project"}


@dataclass(frozen=True, slots=True)
class Chip:
    """A field of the new ticket as the line or the form sets it. Only one of the line has a `text`, by which it is removed."""

    icon: str
    label: str
    text: str = ""


@blueprint.get("/ticket/new/line")
def show_chips() -> str:
    """Render the chips for the values of the form in the query string."""
    with reading(auth.get_instance().engine) as session:
        context = build_context(session, request.args)
    return layout.render_part("ticket/_line_chips", line=context)


def read_line(session: Session, form: Form) -> ParsedLine:
    """Parse the line of a form, whose days are meant in the time zone of the settings."""
    moment = now().astimezone(ZoneInfo(auth.get_instance().settings.timezone))
    return parse_line(form.get("title", ""), load_names(session, auth.get_actor().name), moment, form.getlist("plain"))


def build_context(session: Session, form: Form) -> dict[str, Any]:
    """Build what the template of the chips shows: those of the line, then other fields of the form that matter."""
    parsed = read_line(session, form)
    choices = forms.load_choices(session)
    return {
        "chips": [_build_chip(token) for token in parsed.tokens],
        "others": list(_list_others(form, parsed, choices)),
        "plain": form.getlist("plain"),
        "unknown": [(word, KINDS[word[0]]) for word in parsed.unknown],
        "template": _find_template(session, parsed.fields.get("project") or form.get("project", "")),
    }


def _find_template(session: Session, slug: str) -> str:
    """Find what the description of a new ticket of this project begins with."""
    return next((project.ticket_template for project in projects.list_projects(session) if project.slug == slug), "")


def _build_chip(token: Token) -> Chip:
    label = _format_day(token) if token.field in (START, DUE) else token.value
    return Chip(ICONS[token.field], label, token.text)


def _format_day(token: Token) -> str:
    day = datetime.fromisoformat(token.value)
    return f"{'Due' if token.field == DUE else 'Starts'} {day:%A, %-d %B}"


def _list_others(form: Form, parsed: ParsedLine, choices: Mapping[str, list[tuple[str, str]]]) -> list[Chip]:
    """List owner and project of the form, where the line does not set them."""
    chips = []
    for field, absent in (("assigned_to", "No owner: it waits for one"), ("project", "")):
        value = form.get(field, "")
        label = dict(choices.get(field, ())).get(value, value) or absent
        if label and field not in parsed.fields:
            chips.append(Chip(ICONS[field] if value else "triangle-alert", label))
    return chips
