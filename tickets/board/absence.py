"""The events of a person's absence: tickets that were finished or wait for somebody, failed runs, and their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, false, func, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import Outcome, PersonVisit, Run, Ticket, TicketStatus
from tickets.shared.canary import IS_ORDINARY_RUN, IS_ORDINARY_TICKET
from tickets.shared.paging import MAX_COUNT

ABSENCE = timedelta(minutes=30)
"""A person who was not seen for so long was away."""
PAGE_SIZE = 3
"""Number of tickets that are named in each group."""
WAITING_STATES = (TicketStatus.NEEDS_INPUT, TicketStatus.IN_REVIEW)
FAILED_OUTCOMES = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.PROTOCOL_VIOLATION)


@dataclass(frozen=True, slots=True)
class TicketGroup:
    """Some tickets to which the same happened: how many, up to a thousand, and the latest as (identifier, title)."""

    count: int
    tickets: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Absence:
    """The events since a person was last here."""

    since: datetime
    finished: TicketGroup
    questions: TicketGroup
    failed: TicketGroup
    cost: float


def record_visit(session: Session, person: str, moment: datetime) -> None:
    """Record that a person is here, and when the visit before ended if that was long ago."""
    session.execute(insert_or_ignore(session, PersonVisit).values(person=person, last_seen=moment))
    visit = session.get_one(PersonVisit, person)
    visit.away_since = _find_absence(visit, moment)
    visit.last_seen = moment


def dismiss_absence(session: Session, person: str, moment: datetime) -> None:
    """Forget the last absence of a person, who is here."""
    values = {"away_since": None, "last_seen": moment}
    session.execute(update(PersonVisit).where(PersonVisit.person == person).values(**values))


def _find_absence(visit: PersonVisit, moment: datetime) -> datetime | None:
    return visit.last_seen if moment - visit.last_seen > ABSENCE else visit.away_since


def load_absence(session: Session, person: str, moment: datetime) -> Absence | None:
    """Load what happened while a person was away, or None when there is nothing to tell or it was dismissed."""
    visit = session.get(PersonVisit, person)
    since = _find_absence(visit, moment) if visit else None
    if since is None:
        return None
    absence = Absence(
        since,
        _load_group(session, _select_finished(since)),
        _load_group(session, _select_asked(since)),
        _load_group(session, _select_failed(since)),
        session.scalar(_select_cost(since)) or 0.0,
    )
    has_news = absence.finished.count or absence.questions.count or absence.failed.count or absence.cost
    return absence if has_news else None


def _select_finished(since: datetime) -> Select[str, str]:
    return (
        select(Ticket.identifier, Ticket.title)
        .where(Ticket.status == TicketStatus.DONE, IS_ORDINARY_TICKET, Ticket.closed >= since)
        .order_by(Ticket.closed.desc())
    )


def _select_asked(since: datetime) -> Select[str, str]:
    is_asked = and_(Ticket.status.in_(WAITING_STATES), Ticket.archived == false(), Ticket.moved >= since)
    return select(Ticket.identifier, Ticket.title).where(is_asked).order_by(Ticket.moved.desc())


def _select_failed(since: datetime) -> Select[str, str]:
    return (
        select(Ticket.identifier, Ticket.title)
        .join(Run, Run.ticket_id == Ticket.id)
        .where(Run.ended >= since, Run.outcome.in_(FAILED_OUTCOMES), IS_ORDINARY_RUN)
        .order_by(Run.ended.desc())
    )


def _select_cost(since: datetime) -> Select[Any]:
    return select(func.sum(Run.cost_usd)).where(Run.ended >= since)


def _load_group(session: Session, statement: Select[str, str]) -> TicketGroup:
    tickets = [(identifier, title) for identifier, title in session.execute(statement.limit(PAGE_SIZE))]
    if len(tickets) < PAGE_SIZE:
        return TicketGroup(len(tickets), tickets)
    counted = select(func.count()).select_from(statement.order_by(None).limit(MAX_COUNT).subquery())
    return TicketGroup(session.scalar(counted) or 0, tickets)
