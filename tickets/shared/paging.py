"""Keyset pagination: a list continues after the last row displayed, regardless of rows added or removed meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from database import fetch_rows
from models import Choice, Ticket, UtcTime, format_timestamp

from .errors import Invalid
from .ticket_row import AnyTicket, TicketRow, load_rows

_NUMBER = re.compile(r"0|[1-9]\d{0,17}")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
MAX_COUNT = 1000
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """An order of tickets that an index serves, ending with the id.

    A cursor holds the values of these columns for the last ticket displayed. `opposite` names the columns of the other
    direction.
    """

    columns: tuple[InstrumentedAttribute[Any], ...]
    descending: bool = True
    opposite: frozenset[str] = frozenset()

    def by(self) -> list[ColumnElement[Any]]:
        return [column.desc() if self._descends(column) else column.asc() for column in self.columns]

    def _descends(self, column: InstrumentedAttribute[Any]) -> bool:
        return self.descending != (column.key in self.opposite)

    def sort(self, keys: Iterable[Key]) -> list[Key]:
        """Sort the keys of tickets, by one column after the other where directions differ."""
        sorted_keys = sorted(keys, reverse=self.descending)
        if self.opposite:
            for at, column in reversed(list(enumerate(self.columns))):
                sorted_keys.sort(key=itemgetter(at), reverse=self._descends(column))
        return sorted_keys

    def key(self, ticket: AnyTicket) -> Key:
        return tuple(getattr(ticket, column.key) for column in self.columns)

    def place(self, ticket: AnyTicket) -> str:
        """Return the cursor that points to this ticket."""
        return "~".join(
            format_timestamp(value) if isinstance(value, datetime) else str(int(value)) for value in self.key(ticket)
        )

    def build_cursor_condition(self, cursor: str) -> ColumnElement[bool]:
        """Return the condition for rows after the cursor. Raises `Invalid` for a malformed cursor."""
        try:
            cursor_values = [
                _parse_value(column, text) for column, text in zip(self.columns, cursor.split("~"), strict=True)
            ]
        except ValueError:
            raise Invalid("Invalid cursor. Read the list again from its first page.", field="cursor") from None
        if self.opposite:
            return self._compare_each(cursor_values)
        columns, values = tuple_(*self.columns), tuple_(*cursor_values)
        return columns < values if self.descending else columns > values

    def _compare_each(self, values: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """Compare column by column, as a tuple can be compared in one direction only."""
        pairs = list(zip(self.columns, values, strict=True))
        return or_(
            *(
                and_(
                    *(earlier == value for earlier, value in pairs[:at]),
                    column < value if self._descends(column) else column > value,
                )
                for at, (column, value) in enumerate(pairs)
            )
        )


NEWEST = Order((Ticket.updated, Ticket.id))
LONGEST_IN_STATE = Order((Ticket.moved, Ticket.id), descending=False)
QUEUE = Order((Ticket.resume, Ticket.rank, Ticket.priority, Ticket.id), opposite=frozenset({"rank", "id"}))
"""The order of pickup: resumed tickets first, then by hand, by priority, and the oldest."""


def _parse_value(column: InstrumentedAttribute[Any], text: str) -> ColumnElement[Any]:
    """Parse one value of a cursor for comparison with its column. Raises ValueError for a malformed value."""
    moment = isinstance(column.type, UtcTime)
    if not (_TIMESTAMP if moment else _NUMBER).fullmatch(text):
        raise ValueError(text)
    value: Any = datetime.fromisoformat(text) if moment else int(text)
    return literal(column.type.kind(value) if isinstance(column.type, Choice) else value, column.type)


Conditions = list[ColumnElement[bool]]
SIZE = bindparam("size", type_=Integer)


class Lists:
    """Named lists of tickets, each the union of its sets of conditions.

    Building the statements costs more than running them: reuse the instance.
    """

    def __init__(self, sets: Mapping[str, Sequence[Conditions]]) -> None:
        self.names = list(sets)
        self.parts = [(name, condition_set) for name, conditions in sets.items() for condition_set in conditions]
        self._first: dict[Order, CompoundSelect[Any]] = {}
        self._by_order: dict[Order, Lists] = {}

    def select_ordered(self, order: Order, orders: Mapping[str, Order]) -> Lists:
        """Return the lists that have this order, and these alone."""
        if order not in self._by_order:
            names = [name for name in self.names if orders[name] == order]
            self._by_order[order] = Lists(
                {name: [part for owner, part in self.parts if owner == name] for name in names}
            )
        return self._by_order[order]

    def first(self, order: Order) -> CompoundSelect[Any]:
        """Return the statement for the first `size` tickets of each set: the set's index and the ticket's key.

        A list with several sets yields more than `size` rows.
        """
        if order not in self._first:
            self._first[order] = self._page(order, [])
        return self._first[order]

    def build_cursor_condition(self, cursor: str, order: Order) -> CompoundSelect[Any]:
        """Return the same statement for tickets after the cursor. Raises `Invalid` for a malformed cursor."""
        return self._page(order, [order.build_cursor_condition(cursor)])

    def _page(self, order: Order, extra: Conditions) -> CompoundSelect[Any]:
        return union_all(
            *(_select_keys(at, [*condition_set, *extra], order) for at, (_, condition_set) in enumerate(self.parts))
        )

    @cached_property
    def counting(self) -> CompoundSelect[int, int]:
        """The statement for the index of each list and its number of tickets."""
        return union_all(
            *(
                _select_count(at, [condition_set for list_name, condition_set in self.parts if list_name == name])
                for at, name in enumerate(self.names)
            )
        )


def _select_keys(place: int, conditions: Conditions, order: Order) -> Select[Any]:
    some = select(*order.columns).where(*conditions).order_by(*order.by()).limit(SIZE).subquery()
    return select(literal_column(str(place)), *some.c)


def _select_count(place: int, sets: Iterable[Conditions]) -> Select[Any, Any]:
    parts = (select(Ticket.id).where(*condition_set).limit(MAX_COUNT).subquery() for condition_set in sets)
    some = union(*(select(part.c.id) for part in parts)).subquery()
    return select(literal_column(str(place)), func.count()).select_from(some)


def load_pages(
    session: Session, lists: Lists, orders: Mapping[str, Order], size: int, cursor: str | None = None
) -> dict[str, list[TicketRow]]:
    """Load the first `size` tickets of each list in its order, or those after the cursor.

    One statement for each order reads all its sets, each through an index and no further than needed.
    """
    keys_by_list: dict[str, list[Key]] = {name: [] for name in lists.names}
    for order in {orders[name]: None for name in lists.names}:
        part = lists.select_ordered(order, orders)
        query = part.build_cursor_condition(cursor, order) if cursor else part.first(order)
        for row in fetch_rows(session, query, size=size).all():
            keys_by_list[part.parts[row[0]][0]].append(tuple(row[1:]))
    page_keys = {name: orders[name].sort(set(keys))[:size] for name, keys in keys_by_list.items()}
    by_id = load_rows(session, [key[-1] for keys in page_keys.values() for key in keys])
    return {name: [by_id[key[-1]] for key in keys] for name, keys in page_keys.items()}


def count_tickets(session: Session, lists: Lists) -> dict[str, str]:
    """Count the tickets of each list in one statement, up to a thousand so that the cost is bounded."""
    count_by_place: dict[int, int] = {place: count for place, count in fetch_rows(session, lists.counting)}  # noqa: C416 - rows are no pairs to mypy
    return {
        name: str(count_by_place[at]) if count_by_place[at] < MAX_COUNT else f"{MAX_COUNT - 1}+"
        for at, name in enumerate(lists.names)
    }


def parse_number(cursor: str | None) -> int | None:
    """Parse the cursor of a list ordered by row number. Raises `Invalid` for a malformed cursor."""
    if cursor is None:
        return None
    if not _NUMBER.fullmatch(cursor):
        raise Invalid("Invalid cursor. Read the list again from its first page.", field="cursor")
    return int(cursor)
