"""Snapshots of the columns that a move changes, stored in its event so that the move can be undone exactly."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any

from models import Priority, Ticket, TicketStatus, format_timestamp

MoveSnapshot = dict[str, Any]
TIME_COLUMNS = {"wake_at", "not_before", "moved", "closed"}


def take_snapshot(ticket: Ticket, names: Iterable[str]) -> MoveSnapshot:
    """Return these columns as JSON values."""
    return {name: _to_json(getattr(ticket, name)) for name in names}


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_timestamp(value)
    return value.value if isinstance(value, Enum) else value


def parse_snapshot(snapshot: MoveSnapshot) -> dict[str, Any]:
    """Convert a snapshot back to column values."""
    return {name: _parse_value(name, value) for name, value in snapshot.items()}


def _parse_value(name: str, value: Any) -> Any:
    if name in TIME_COLUMNS and value is not None:
        return datetime.fromisoformat(value)
    return {"status": TicketStatus, "priority": Priority}.get(name, lambda same: same)(value)
