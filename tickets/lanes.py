"""The board by attention instead of by state: who needs you, what is in review, what is stuck, and what goes on.

A ticket stands in one lane at most; who has stood there longest comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, not_, or_
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus

from . import board, reasons, runtime
from .board import PAGE, Card, Conditions, Filters, Viewer
from .errors import Invalid
from .paging import OLDEST_STANDING, merged

LANES = ("working", "needs_you", "in_review", "stuck")


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    count: str
    cards: list[Card]
    next_cursor: str | None


def conditions(name: str, attempts: int) -> list[Conditions]:
    """What stands in a lane: a ticket that meets one of these sets. Raises `Invalid` for a lane that there is not."""
    at_work = Ticket.status == TicketStatus.IN_PROGRESS
    asks = [at_work, Ticket.id.in_(runtime.asking()), Ticket.id.not_in(runtime.unheard())]
    causes = reasons.causes(attempts)
    match name:
        case "needs_you":
            return [[Ticket.status == TicketStatus.NEEDS_INPUT], asks]
        case "in_review":
            return [[Ticket.status == TicketStatus.IN_REVIEW]]
        case "stuck":
            return list(causes.values())
        case "working":
            return [[at_work, not_(or_(*(and_(*each) for each in (asks, *causes.values()))))]]
    raise Invalid(f"there is no lane named {name[:40]!r}", field="lane", choices=list(LANES))


def lanes(session: Session, filters: Filters, viewer: Viewer) -> list[Lane]:
    """All lanes; their cards share their queries."""
    pages = {name: _page(session, name, filters, viewer, None, PAGE) for name in LANES}
    shown = board.cards(session, [ticket for page in pages.values() for ticket in page[:PAGE]], viewer)
    return [_lane(session, name, filters, viewer, page, shown, PAGE) for name, page in pages.items()]


def lane(
    session: Session, name: str, filters: Filters, viewer: Viewer, cursor: str | None = None, size: int = PAGE
) -> Lane:
    """One lane from a cursor on. Raises `Invalid` for a lane that there is not, or a cursor that was not made here."""
    page = _page(session, name, filters, viewer, cursor, size)
    return _lane(session, name, filters, viewer, page, board.cards(session, page[:size], viewer), size)


def _lane(
    session: Session,
    name: str,
    filters: Filters,
    viewer: Viewer,
    page: list[Ticket],
    shown: dict[int, Card],
    size: int,
) -> Lane:
    following = OLDEST_STANDING.place(page[size - 1]) if len(page) > size else None
    count = board.counted(session, *_narrowed(name, filters, viewer))
    return Lane(name, count, [shown[ticket.id] for ticket in page[:size]], following)


def _page(session: Session, name: str, filters: Filters, viewer: Viewer, cursor: str | None, size: int) -> list[Ticket]:
    return merged(session, _narrowed(name, filters, viewer), OLDEST_STANDING, cursor, size + 1)


def _narrowed(name: str, filters: Filters, viewer: Viewer) -> list[Conditions]:
    return [[*each, *filters.on_board()] for each in conditions(name, viewer.limits.attempts)]
