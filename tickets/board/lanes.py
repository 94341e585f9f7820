"""The board by attention instead of by state: in progress, needs you, in review, stuck.

A ticket is in one lane at most. Those that have been in their state longest come first.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import and_, not_
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus
from tickets.runs import runtime
from tickets.shared.errors import Invalid
from tickets.shared.paging import LONGEST_IN_STATE, Conditions, Lists

from . import columns, status_reason
from .columns import FIRST_PAGE_SIZE, PAGE_SIZE, CardList, Filters, Viewer

ASKING_AT_WORK: Conditions = [
    Ticket.status == TicketStatus.IN_PROGRESS,
    Ticket.id.in_(runtime.select_asking()),
    Ticket.id.not_in(runtime.select_unheard()),
]
"""Conditions for a ticket whose live run waits for a person."""
LANES = ("working", "needs_you", "in_review", "stuck")


def build_conditions(attempts: int) -> dict[str, list[Conditions]]:
    """Build the sets of conditions of each lane. A ticket is in the lane when it meets one of its sets."""
    at_work = Ticket.status == TicketStatus.IN_PROGRESS
    causes = status_reason.build_causes(attempts)
    elsewhere = (ASKING_AT_WORK, causes["unheard"], causes["adrift"], causes["overdue"])
    return {
        "working": [[at_work, *(not_(and_(*lane_conditions)) for lane_conditions in elsewhere)]],
        "needs_you": [[Ticket.status == TicketStatus.NEEDS_INPUT], ASKING_AT_WORK],
        "in_review": [[Ticket.status == TicketStatus.IN_REVIEW]],
        "stuck": list(causes.values()),
    }


def load_lanes(session: Session, filters: Filters, viewer: Viewer) -> list[CardList]:
    """Load the first cards of all lanes."""
    lists = _build_lists(LANES, filters, viewer.limits.attempts)
    return columns.load_card_lists(session, lists, LONGEST_IN_STATE, viewer, size=FIRST_PAGE_SIZE)


def load_lane(
    session: Session, name: str, filters: Filters, viewer: Viewer, cursor: str | None = None, size: int = PAGE_SIZE
) -> CardList:
    """Load one lane from a cursor on. Raises `Invalid` for an unknown lane or a malformed cursor."""
    if name not in LANES:
        raise Invalid(f"There is no lane named {name[:40]!r}.", field="lane", choices=list(LANES))
    return columns.load_card_lists(
        session, _build_lists((name,), filters, viewer.limits.attempts), LONGEST_IN_STATE, viewer, cursor, size
    )[0]


@lru_cache(columns.CACHE_SIZE)  # without it the lanes take 54 % longer
def _build_lists(names: tuple[str, ...], filters: Filters, attempts: int) -> Lists:
    board_conditions, sets = filters.build_board_conditions(), build_conditions(attempts)
    return Lists({name: [[*lane_conditions, *board_conditions] for lane_conditions in sets[name]] for name in names})
