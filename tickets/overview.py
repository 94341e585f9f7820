"""The overview: what needs a person, who is at work, what was finished, and what the timers did."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Select, false, func, select
from sqlalchemy.orm import Session

from models import InboxItem, InboxState, Incident, IncidentState, Run, RunState, TaskRun, Ticket, TicketStatus, now

from . import board
from .board import ATTENTION, Filters

View = dict[str, Any]
SHOWN = 12
DAYS = 14


def needs_you(session: Session) -> list[View]:
    """What waits for a person: agents that ask in the middle of their work, then questions, reviews and blocked tickets,
    the longest waiting first."""
    asking = select(Ticket).join(Run, Run.ticket_id == Ticket.id).where(Run.state == RunState.WAITING).order_by(Run.id)
    resting = select(Ticket).where(Ticket.status.in_(ATTENTION), Ticket.archived == false()).order_by(Ticket.updated)
    found = [(ticket, "Its agent waits for an answer.") for ticket in session.scalars(asking.limit(SHOWN))]
    found += [(ticket, _cause(ticket)) for ticket in session.scalars(resting.limit(SHOWN))]
    return [
        {
            "identifier": ticket.identifier,
            "title": ticket.title,
            "status": ticket.status.value,
            "line": line,
            "since": ticket.updated,
        }
        for ticket, line in found[:SHOWN]
    ]


def _cause(ticket: Ticket) -> str:
    return (ticket.block or {}).get("next_action") or ticket.failure_reason or ""


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
    """Tickets done a day over the last two weeks, as a plot; each day is counted in an index."""
    done = select(func.count()).where(Ticket.status == TicketStatus.DONE)
    return _plot(
        "Done", _by_day(session, lambda begin, end: done.where(Ticket.closed >= begin, Ticket.closed < end)), "{:.0f}"
    )


def spent(session: Session) -> View:
    """Money a day over the last two weeks, as a plot."""
    cost = select(func.sum(Run.cost_usd))
    return _plot(
        "Cost", _by_day(session, lambda begin, end: cost.where(Run.started >= begin, Run.started < end)), "${:.2f}"
    )


def _by_day(session: Session, query: Callable[[datetime, datetime], Select[Any]]) -> dict[date, float]:
    """One number for each of the last days, in UTC, today last."""
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    return {day.date(): float(session.scalar(query(day, day + timedelta(days=1))) or 0) for day in days}


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
