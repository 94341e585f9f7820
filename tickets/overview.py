"""The overview: what needs a person, who is at work, what was finished, and what the timers did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import false, func, select
from sqlalchemy.orm import Session

from models import InboxItem, InboxState, Incident, IncidentState, Run, RunState, TaskRun, Ticket, TicketStatus, now

from . import board
from .board import ATTENTION, Filters

View = dict[str, Any]
SHOWN = 12
DAYS = 14


def needs_you(session: Session) -> list[View]:
    """Questions, reviews and blocked tickets, the longest waiting first."""
    query = (
        select(Ticket)
        .where(Ticket.status.in_(ATTENTION), Ticket.archived == false())
        .order_by(Ticket.updated)
        .limit(SHOWN)
    )
    return [
        {
            "identifier": ticket.identifier,
            "title": ticket.title,
            "status": ticket.status.value,
            "line": (ticket.block or {}).get("next_action") or ticket.failure_reason or "",
            "since": ticket.updated,
        }
        for ticket in session.scalars(query)
    ]


def at_work(session: Session) -> list[View]:
    query = (
        select(Run, Ticket.identifier, Ticket.title)
        .join(Ticket, Ticket.id == Run.ticket_id)
        .where(Run.state != RunState.ENDED)
        .order_by(Run.id)
    )
    return [
        {
            "identifier": identifier,
            "title": title,
            "agent": run.agent,
            "line": run.live_line,
            "started": run.started,
            "cost": run.cost_usd,
        }
        for run, identifier, title in session.execute(query)
    ]


def counts(session: Session) -> list[tuple[str, str]]:
    """How many tickets are in each state, counted up to a thousand."""
    return [(status.value, board.count(session, status, Filters())) for status in TicketStatus]


def finished(session: Session) -> View:
    """Tickets done a day over the last two weeks, as a plot."""
    ended = select(Ticket.closed).where(Ticket.status == TicketStatus.DONE, Ticket.updated >= _first_day())
    tally = _by_day((closed, 1.0) for closed in session.scalars(ended) if closed)
    return _plot("Done", tally, "{:.0f}")


def spent(session: Session) -> View:
    """Money a day over the last two weeks, as a plot."""
    runs = select(Run.started, Run.cost_usd).where(Run.started >= _first_day())
    return _plot("Cost", _by_day((started, cost or 0.0) for started, cost in session.execute(runs)), "${:.2f}")


def _first_day() -> datetime:
    return (now() - timedelta(days=DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)


def _by_day(facts: Iterable[tuple[datetime, float]]) -> dict[date, float]:
    tally = {(_first_day() + timedelta(days=day)).date(): 0.0 for day in range(DAYS)}
    for moment, amount in facts:
        if moment.date() in tally:
            tally[moment.date()] += amount
    return tally


def _plot(label: str, tally: dict[date, float], form: str) -> View:
    points = [{"label": f"{day:%d %b}", "value": amount, "text": form.format(amount)} for day, amount in tally.items()]
    return {"label": label, "value": form.format(sum(tally.values())), "note": f"in {DAYS} days", "points": points}


def tasks(session: Session) -> list[View]:
    """The last run of each scheduled task."""
    newest = select(func.max(TaskRun.id)).group_by(TaskRun.task)
    rows = session.scalars(select(TaskRun).where(TaskRun.id.in_(newest)).order_by(TaskRun.task))
    return [
        {"name": row.task, "outcome": row.outcome.value if row.outcome else None, "at": row.ended or row.started}
        for row in rows
    ]


def incidents(session: Session) -> list[View]:
    query = (
        select(Incident).where(Incident.state != IncidentState.CLOSED).order_by(Incident.last_seen.desc()).limit(SHOWN)
    )
    return [
        {
            "id": row.id,
            "title": row.title,
            "count": row.count,
            "last_seen": row.last_seen,
            "href": f"/incidents#incident-{row.id}",
        }
        for row in session.scalars(query)
    ]


def inbox_count(session: Session) -> int:
    """How many questions and reviews wait, up to a thousand."""
    waiting = select(InboxItem.id).where(InboxItem.state.in_((InboxState.PENDING, InboxState.DELIVERED))).limit(1000)
    return session.scalar(select(func.count()).select_from(waiting.subquery())) or 0
