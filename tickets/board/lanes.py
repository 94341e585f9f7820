"""The board by attention instead of by state: who needs you, what is in review, what is stuck, and what goes on.

A ticket stands in one lane at most; who has stood there longest comes first.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import and_, not_
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus
from tickets.runs import runtime
from tickets.shared.errors import Invalid
from tickets.shared.paging import OLDEST_STANDING, Conditions, Lists

from . import columns, status_reason
from .columns import PAGE, Filters, Pile, Viewer

LANES = ("working", "needs_you", "in_review", "stuck")


def conditions(attempts: int) -> dict[str, list[Conditions]]:
    """What stands in each lane: a ticket that meets one of its sets."""
    at_work = Ticket.status == TicketStatus.IN_PROGRESS
    asks = [at_work, Ticket.id.in_(runtime.asking()), Ticket.id.not_in(runtime.unheard())]
    causes = status_reason.causes(attempts)
    elsewhere = (asks, causes["unheard"], causes["adrift"], causes["overdue"])
    return {
        "working": [[at_work, *(not_(and_(*each)) for each in elsewhere)]],
        "needs_you": [[Ticket.status == TicketStatus.NEEDS_INPUT], asks],
        "in_review": [[Ticket.status == TicketStatus.IN_REVIEW]],
        "stuck": list(causes.values()),
    }


def lanes(session: Session, filters: Filters, viewer: Viewer) -> list[Pile]:
    """All lanes."""
    return columns.piles(session, _lists(LANES, filters, viewer.limits.attempts), OLDEST_STANDING, viewer)


def lane(
    session: Session, name: str, filters: Filters, viewer: Viewer, cursor: str | None = None, size: int = PAGE
) -> Pile:
    """One lane from a cursor on. Raises `Invalid` for a lane that there is not, or a cursor that was not made here."""
    if name not in LANES:
        raise Invalid(f"there is no lane named {name[:40]!r}", field="lane", choices=list(LANES))
    return columns.piles(
        session, _lists((name,), filters, viewer.limits.attempts), OLDEST_STANDING, viewer, cursor, size
    )[0]


@lru_cache(columns.KEPT)  # without it the lanes take 54 % longer
def _lists(names: tuple[str, ...], filters: Filters, attempts: int) -> Lists:
    narrowed, sets = filters.on_board(), conditions(attempts)
    return Lists({name: [[*each, *narrowed] for each in sets[name]] for name in names})
