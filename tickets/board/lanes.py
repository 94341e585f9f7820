"""The board as lanes: what needs a person first, then what is in progress, and the queue.

A ticket is in one lane at most. Those that have been in their state longest come first, and the queue has its own order.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import and_, not_
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus
from tickets.runs import runtime
from tickets.shared.errors import Invalid
from tickets.shared.paging import LONGEST_IN_STATE, QUEUE, Conditions, Lists, count_tickets

from . import columns, status_reason
from .columns import CardList, Filters, Viewer

ASKING_AT_WORK: Conditions = [
    Ticket.status == TicketStatus.IN_PROGRESS,
    Ticket.id.in_(runtime.select_asking()),
    Ticket.id.not_in(runtime.select_unheard()),
]
"""Conditions for a ticket whose live run waits for a person."""
ATTENTION_LANES = ("needs_you", "in_review", "stuck")
LANES = (*ATTENTION_LANES, "working", "todo", "inbox", "waiting")
"""All lanes, those that need a person first."""
ORDERS = {name: QUEUE if name == "todo" else LONGEST_IN_STATE for name in LANES}
PAGE_SIZE = 5
"""Number of tickets of a lane beside others, so that those that need a person fit on one screen."""


def build_conditions(attempts: int) -> dict[str, list[Conditions]]:
    """Build the sets of conditions of each lane. A ticket is in the lane when it meets one of its sets."""
    causes = status_reason.build_causes(attempts)
    working = (ASKING_AT_WORK, causes["unheard"], causes["adrift"], causes["overdue"])
    return {
        "working": _build_rest(TicketStatus.IN_PROGRESS, *working),
        "needs_you": [[Ticket.status == TicketStatus.NEEDS_INPUT], ASKING_AT_WORK],
        "in_review": [[Ticket.status == TicketStatus.IN_REVIEW]],
        "stuck": list(causes.values()),
        "todo": _build_rest(TicketStatus.TODO, causes["exhausted"], causes["overdue"]),
        "inbox": _build_rest(TicketStatus.INBOX, causes["overdue"]),
        "waiting": _build_rest(TicketStatus.WAITING, *(causes[name] for name in ("overslept", "forgotten", "overdue"))),
    }


def _build_rest(status: TicketStatus, *elsewhere: Conditions) -> list[Conditions]:
    """Build the conditions for tickets of a state that are in no other lane."""
    return [[Ticket.status == status, *(not_(and_(*conditions)) for conditions in elsewhere)]]


def load_lanes(session: Session, filters: Filters, viewer: Viewer) -> list[CardList]:
    """Load the beginning of all lanes."""
    lists = _build_lists(LANES, filters, viewer.limits.attempts)
    return columns.load_card_lists(session, lists, ORDERS, viewer, size=PAGE_SIZE)


def load_lane(
    session: Session,
    name: str,
    filters: Filters,
    viewer: Viewer,
    cursor: str | None = None,
    size: int = columns.PAGE_SIZE,
) -> CardList:
    """Load one lane from a cursor on. Raises `Invalid` for an unknown lane or a malformed cursor."""
    if name not in LANES:
        raise Invalid(f"There is no lane named {name[:40]!r}.", field="lane", choices=list(LANES))
    lists = _build_lists((name,), filters, viewer.limits.attempts)
    return columns.load_card_lists(session, lists, ORDERS, viewer, cursor, size)[0]


def count_lanes(session: Session, filters: Filters, attempts: int) -> dict[str, str]:
    """Count the tickets of each lane."""
    return count_tickets(session, _build_lists(LANES, filters, attempts))


@lru_cache(columns.CACHE_SIZE)  # without it the lanes take 54 % longer
def _build_lists(names: tuple[str, ...], filters: Filters, attempts: int) -> Lists:
    board_conditions, sets = filters.build_board_conditions(), build_conditions(attempts)
    return Lists({name: [[*lane_conditions, *board_conditions] for lane_conditions in sets[name]] for name in names})
