"""Keyset cursors: a list goes on after the last row shown, whatever has come or gone in between."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from models import Choice, Ticket, UtcTime, stamp

from .errors import Invalid

_NUMBER = re.compile(r"0|[1-9]\d{0,17}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """An order of tickets that an index serves, the id last; a cursor holds the values of the last ticket shown."""

    columns: tuple[InstrumentedAttribute[Any], ...]
    descending: bool = True

    def by(self) -> list[ColumnElement[Any]]:
        return [column.desc() if self.descending else column.asc() for column in self.columns]

    def key(self, ticket: Ticket) -> Key:
        return tuple(getattr(ticket, column.key) for column in self.columns)

    def place(self, ticket: Ticket) -> str:
        """The cursor that stands at this ticket."""
        return "~".join(stamp(value) if isinstance(value, datetime) else str(int(value)) for value in self.key(ticket))

    def behind(self, cursor: str) -> ColumnElement[bool]:
        """What comes after the cursor. Raises `Invalid` for a cursor that was not made here."""
        try:
            held = [_read(column, text) for column, text in zip(self.columns, cursor.split("~"), strict=True)]
        except ValueError:
            raise Invalid("that cursor was not made here", field="cursor") from None
        columns, values = tuple_(*self.columns), tuple_(*held)
        return columns < values if self.descending else columns > values


NEWEST = Order((Ticket.updated, Ticket.id))
OLDEST_STANDING = Order((Ticket.moved, Ticket.id), descending=False)


def _read(column: InstrumentedAttribute[Any], text: str) -> ColumnElement[Any]:
    """One value of a cursor, as the column compares it; ValueError for what no cursor holds."""
    moment = isinstance(column.type, UtcTime)
    if not (_MOMENT if moment else _NUMBER).fullmatch(text):
        raise ValueError(text)
    value: Any = datetime.fromisoformat(text) if moment else int(text)
    return literal(column.type.kind(value) if isinstance(column.type, Choice) else value, column.type)


def merged(
    session: Session, conditions: Iterable[Iterable[ColumnElement[bool]]], order: Order, cursor: str | None, size: int
) -> list[Ticket]:
    """The first `size` tickets that meet one of these sets of conditions, each of which has an index that knows the order.

    One query for all of them would have no index to follow; each of these stops after `size` rows.
    """
    behind = [order.behind(cursor)] if cursor else []
    keys = (session.execute(_keys([*each, *behind], order, size)).all() for each in conditions)
    first = list(dict.fromkeys(heapq.merge(*keys, reverse=order.descending)))[:size]
    rows = session.scalars(select(Ticket).where(Ticket.id.in_([key[-1] for key in first])))
    by_id = {ticket.id: ticket for ticket in rows}
    return [by_id[key[-1]] for key in first]


def _keys(conditions: list[ColumnElement[bool]], order: Order, size: int) -> Select[Any]:
    return select(*order.columns).where(*conditions).order_by(*order.by()).limit(size)


def number(cursor: str | None) -> int | None:
    """The row's number that a cursor of a list in order of numbers holds."""
    if cursor is None:
        return None
    if not _NUMBER.fullmatch(cursor):
        raise Invalid("that cursor was not made here", field="cursor")
    return int(cursor)
