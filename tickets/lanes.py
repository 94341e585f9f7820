"""The board by attention instead of by state: who needs you, what is in review, what is stuck, and what goes on.

A ticket stands in one lane at most; who has stood there longest comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, not_
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus

from . import board, reasons, runtime
from .board import PAGE, Card, Filters, Viewer
from .errors import Invalid
from .paging import OLDEST_STANDING, Conditions, counts, pages

LANES = ("working", "needs_you", "in_review", "stuck")


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    count: str
    cards: list[Card]
    next_cursor: str | None


def conditions(attempts: int) -> dict[str, list[Conditions]]:
    """What stands in each lane: a ticket that meets one of its sets."""
    at_work = Ticket.status == TicketStatus.IN_PROGRESS
    asks = [at_work, Ticket.id.in_(runtime.asking()), Ticket.id.not_in(runtime.unheard())]
    causes = reasons.causes(attempts)
    elsewhere = (asks, causes["unheard"], causes["adrift"], causes["overdue"])
    return {
        "working": [[at_work, *(not_(and_(*each)) for each in elsewhere)]],
        "needs_you": [[Ticket.status == TicketStatus.NEEDS_INPUT], asks],
        "in_review": [[Ticket.status == TicketStatus.IN_REVIEW]],
        "stuck": list(causes.values()),
    }


def lanes(session: Session, filters: Filters, viewer: Viewer) -> list[Lane]:
    """All lanes; their cards share their queries."""
    return _lanes(session, LANES, filters, viewer, None, PAGE)


def lane(
    session: Session, name: str, filters: Filters, viewer: Viewer, cursor: str | None = None, size: int = PAGE
) -> Lane:
    """One lane from a cursor on. Raises `Invalid` for a lane that there is not, or a cursor that was not made here."""
    if name not in LANES:
        raise Invalid(f"there is no lane named {name[:40]!r}", field="lane", choices=list(LANES))
    return _lanes(session, (name,), filters, viewer, cursor, size)[0]


def _lanes(
    session: Session, names: Sequence[str], filters: Filters, viewer: Viewer, cursor: str | None, size: int
) -> list[Lane]:
    narrowed, sets = filters.on_board(), conditions(viewer.limits.attempts)
    lists = {name: [[*each, *narrowed] for each in sets[name]] for name in names}
    found = pages(session, lists, OLDEST_STANDING, size + 1, cursor)
    shown = board.cards(session, [ticket for page in found.values() for ticket in page[:size]], viewer)
    count = counts(session, lists)
    return [
        Lane(
            name,
            count[name],
            [shown[ticket.id] for ticket in page[:size]],
            OLDEST_STANDING.place(page[size - 1]) if len(page) > size else None,
        )
        for name, page in found.items()
    ]
