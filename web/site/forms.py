"""Forms of moves, generated from the same models that validate them, so that form and validation cannot differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

import auth
from database import Session
from models import AgentKind, BlockReason, Landing, WakeKind
from tickets.lifecycle.moves import Move
from tickets.shared import tags
from tickets.shared.display_names import BLOCK_REASONS
from tickets.shared.errors import Invalid
from tickets.shared.inputs import ParkInput
from tickets.shared.ticket_fields import BY_NAME
from tickets.team import agents as agents_module
from tickets.team import projects
from tickets.workflow import landing

from . import team_forms, template_filters

Field = dict[str, Any]
LONG_FIELDS = {"body", "note", "waive", "next_action"}
EDIT_FIELDS = {"assigned_to", "priority", "project"}
WAKE_CHOICES = [
    (WakeKind.MANUAL.value, "When someone wakes it"),
    (WakeKind.TIME.value, "At a time"),
    (WakeKind.TICKET.value, "When another ticket is done"),
    (WakeKind.ANSWER.value, "When someone comments on it"),
    (WakeKind.AGENT_IDLE.value, "When an agent has been idle"),
    (WakeKind.PROBE.value, "When a command succeeds"),
]
"""Wake conditions that a person may choose; only the server sets the reset of a usage limit, whose time it knows."""
REQUIRED_WAKE_FIELDS = {
    "time": [("wake_at", "Choose when it should wake.")],
    "ticket": [("wake_ticket", "Enter the ticket to wait for, such as MC-12.")],
    "agent_idle": [
        ("wake_agent", "Choose the agent to wait for."),
        ("wake_minutes", "Enter the number of minutes."),
    ],
    "probe": [("wake_probe", "Enter the command that must succeed.")],
}
WAKE_FIELDS = ("wake_kind", "wake_at", "wake_ticket", "wake_agent", "wake_minutes", "wake_probe")


def build_move_fields(
    move: Move, session: Session, form_values: Mapping[str, str], zone: str, ways: Sequence[Landing] = ()
) -> list[Field]:
    """Build the form fields of a move, the required ones first.

    Owner, priority and project are left out: the side panel edits them.
    `ways` are the ways in which the ticket may be approved, from `landing.ways`.
    """
    excluded = EDIT_FIELDS | {"wake"} | (set() if ways else {"landing"})
    inputs = [(name, info) for name, info in move.facts.model_fields.items() if name not in excluded]
    fields = [_build_field(name, info.title or name, info.annotation, info.is_required()) for name, info in inputs]
    for field in fields:
        if field["name"] == "landing":
            field |= {"options": [(way.value, landing.OPTION_LABELS[way]) for way in ways], "value": ways[0].value}
        elif field["name"] == "owner" and not field["options"]:
            field |= _build_member_choice(session)
    wake_fields = [build_wake_field(session, form_values, zone)] if move.facts is ParkInput else []
    return wake_fields + sorted(fields, key=lambda field: not field["required"])


def _build_member_choice(session: Session) -> Field:
    """Build the choice of who must act: the people and the agents of the team, preset to the person who asks."""
    own_name = auth.get_actor().name
    members = sorted(agents_module.list_members(session), key=lambda member: member.kind is not AgentKind.HUMAN)
    options = {own_name: own_name} | {member.name: member.title or member.name for member in members}
    return {"type": "select", "options": list(options.items()), "value": own_name}


def fill_fields(fields: list[Field], form_values: Mapping[str, str]) -> None:
    """Fill the fields with the values of a submitted form."""
    for field in fields:
        field["value"] = form_values.get(field["name"], field.get("value"))


def _build_field(name: str, label: str, annotation: Any, required: bool) -> Field:
    choices = _list_choices(annotation)
    kind = (
        "select"
        if choices
        else "textarea"
        if name in LONG_FIELDS
        else "datetime-local"
        if annotation is datetime
        else "text"
    )
    return {"name": name, "label": label, "type": kind, "required": required, "options": choices, "value": ""}


def _list_choices(annotation: Any) -> list[tuple[str, str]]:
    kinds = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return [(str(member.value), _format_member(member)) for member in kind]
        if get_origin(kind) is Literal:
            return [(value, _format_label(value)) for value in get_args(kind)]
    return []


def _format_member(member: Enum) -> str:
    return BLOCK_REASONS[member] if isinstance(member, BlockReason) else _format_label(str(member.value))


def _format_label(value: str) -> str:
    return value.replace("_", " ").capitalize()


def parse_move_input(move: Move, form: MultiDict[str, str], zone: str) -> dict[str, Any]:
    """Parse the input of a move from a submitted form.

    Empty fields are left out, and local times get the time zone `zone`.
    """
    facts: dict[str, Any] = {name: form[name] for name in move.facts.model_fields if form.get(name)}
    if "not_before" in facts:
        facts["not_before"] = parse_local_time(facts["not_before"], zone)
    return facts | ({"wake": parse_wake(form, zone)} if move.facts is ParkInput else {})


def build_wake_field(session: Session, form_values: Mapping[str, str], zone: str) -> Field:
    """Build the form field that says when a parked ticket wakes (macros/wake.html), with the values entered so far."""
    values = {"wake_kind": "manual", "wake_minutes": "10"} | {
        name: form_values[name] for name in WAKE_FIELDS if form_values.get(name)
    }
    agents = [("", "Choose an agent"), *((name, name) for name in sorted(agents_module.list_runnable(session)))]
    return {"name": "wake", "type": "wake", "kinds": WAKE_CHOICES, "agents": agents, "values": values, "zone": zone}


def parse_wake(form: MultiDict[str, str], zone: str) -> dict[str, Any]:
    """Parse the wake condition of a form, as input of `ParkInput.wake`. Raises `Invalid` for a missing part."""
    kind = form.get("wake_kind", "manual")
    for name, words in REQUIRED_WAKE_FIELDS.get(kind, []):
        if not form.get(name, "").strip():
            raise Invalid(words, field=name)
    return {"kind": kind, **_parse_wake_input(kind, form, zone)}


def _parse_wake_input(kind: str, form: MultiDict[str, str], zone: str) -> dict[str, Any]:
    match kind:
        case "time":
            return {"at": parse_local_time(form["wake_at"], zone)}
        case "ticket":
            return {"ticket": form["wake_ticket"].strip().upper()}
        case "agent_idle":
            return {"agent": form["wake_agent"], "minutes": form["wake_minutes"]}
        case "probe":
            return {"probe": team_forms.parse_argv(form, "wake_probe")}
    return {}


def parse_local_time(text: str, zone: str) -> str:
    """Convert the value of a `datetime-local` field (`2026-05-01T09:00`) to ISO 8601 with the offset of `zone`.

    Text that is not a time is returned unchanged, for the model to refuse.
    """
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone))).isoformat()


def format_local_time(value: datetime | str | None, zone: str) -> str:
    """Format a time for a `datetime-local` field, the inverse of `parse_local_time`."""
    if not value:
        return ""
    return template_filters.parse_time(value).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M")


def load_choices(session: Session) -> dict[str, list[tuple[str, str]]]:
    """Load the options of a ticket's select fields, as (value, label)."""
    return {
        "project": [(project.slug, project.name) for project in projects.list_projects(session)],
        "assigned_to": [(member.name, member.title or member.name) for member in agents_module.list_members(session)],
        "priority": list(BY_NAME["priority"].labels.items()),
        "tag": [(tag, tag) for tag in tags.list_tags(session)],
    }


def build_query_string(arguments: MultiDict[str, str]) -> str:
    """Encode arguments as a query string, repeated names included."""
    return urlencode(list(arguments.items(multi=True)))
