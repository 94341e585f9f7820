"""Keyset cursors: a list goes on after the last row shown, whatever has come or gone in between."""

from __future__ import annotations

import re
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_

from models import Ticket, stamp

from .errors import Invalid

_PLACE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)~([1-9]\d{0,17})")
_NUMBER = re.compile(r"0|[1-9]\d{0,17}")


def place(ticket: Ticket) -> str:
    """The cursor that stands at this ticket in the order of the newest change."""
    return f"{stamp(ticket.updated)}~{ticket.id}"


def behind(cursor: str) -> ColumnElement[bool]:
    """What comes after the cursor, newest change first. Raises `Invalid` for a cursor that was not made here."""
    match = _PLACE.fullmatch(cursor)
    try:
        updated = datetime.fromisoformat(match[1]) if match else None
    except ValueError:
        updated = None
    if match is None or updated is None:
        raise Invalid("that cursor was not made here", field="cursor")
    return or_(Ticket.updated < updated, and_(Ticket.updated == updated, Ticket.id < int(match[2])))


def number(cursor: str | None) -> int | None:
    """The row's number that a cursor of a list in order of numbers holds."""
    if cursor is None:
        return None
    if not _NUMBER.fullmatch(cursor):
        raise Invalid("that cursor was not made here", field="cursor")
    return int(cursor)
