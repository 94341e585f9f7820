"""The values of a ticket's fields, as a request states them, in the form in which their columns store them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from models import Priority
from tickets.shared.ticket_fields import BY_NAME
from tickets.team import agents
from tickets.team.projects import get_project

CONVERSIONS: dict[str, Callable[[Session, Any], Any]] = {
    "project": lambda session, slug: get_project(session, slug).id,
    "assigned_to": agents.resolve_name,
    "priority": lambda _session, level: Priority[level.upper()],
    "acceptance": lambda _session, items: [item.model_dump() for item in items],
}


def column_values(session: Session, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by column; a field that is kept elsewhere is left out.

    Raises `Invalid` for an unknown project or owner.
    """
    columns = {name: BY_NAME[name].column_name for name in values}
    return {column: _convert(session, name, values[name]) for name, column in columns.items() if column}


def _convert(session: Session, name: str, value: Any) -> Any:
    convert = CONVERSIONS.get(name)
    return value if convert is None or value is None else convert(session, value)
