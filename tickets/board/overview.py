"""The overview: what needs a person, who is at work, what was finished, and what the timers did."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from statistics import median
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    bindparam,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from database import fetch_rows, in_ids
from models import (
    CommentKind,
    Incident,
    IncidentState,
    LandingState,
    Run,
    RunState,
    Ticket,
    TicketComment,
    TicketStatus,
    now,
)
from tickets.operations.tasks import latest
from tickets.workflow import landing

from . import columns
from .columns import ATTENTION, Filters

View = dict[str, Any]
SHOWN = 12
MOST_NEEDS = 100
DAYS = 14
LINE = 200
MEASURED = 2000
"""Of how many of the tickets finished last the time they took is looked at."""


def needs_you(session: Session, limit: int = SHOWN) -> list[View]:
    """What waits for a person: agents that ask in the middle of their work, then questions, reviews and blocked tickets,
    the longest waiting first."""
    found = [(ticket, "Its agent waits for an answer.") for ticket in session.scalars(_asking(limit))]
    waiting = list(session.scalars(_resting(limit)))
    said = _last_words(session, [ticket.id for ticket in waiting])
    found += [(ticket, _cause(ticket) or said.get(ticket.id, "")) for ticket in waiting]
    return [
        {
            "identifier": ticket.identifier,
            "title": ticket.title,
            "status": ticket.status.value,
            "line": line,
            "since": ticket.updated,
        }
        for ticket, line in found[:limit]
    ]


def count_needs(session: Session) -> int:
    """How many of these there are, counted up to a hundred."""
    return min(MOST_NEEDS, sum(fetch_rows(session, _counting()).one()))


@cache  # without it a ticket's page and the board take 12 % longer
def _counting() -> Select[*tuple[int, ...]]:
    """Every page asks this, and to build a statement costs more than to run it."""
    asking = _asking(MOST_NEEDS).with_only_columns(Ticket.id).order_by(None).subquery()
    both = (asking, _longest_resting(MOST_NEEDS).subquery())
    return select(*(select(func.count()).select_from(each).scalar_subquery() for each in both))


def _asking(limit: int) -> Select[Ticket]:
    waits = (Run.state != RunState.ENDED, Run.state == RunState.WAITING)  # the first one has the index of live runs
    return select(Ticket).join(Run, Run.ticket_id == Ticket.id).where(*waits).order_by(Run.id).limit(limit)


@cache  # without it the overview takes 15 % longer
def _resting(limit: int) -> Select[Ticket]:
    longest = _longest_resting(limit).subquery()
    return select(Ticket).where(Ticket.id.in_(select(longest.c.id))).order_by(Ticket.updated).limit(limit)


def _longest_resting(limit: int) -> CompoundSelect[int]:
    """The numbers of those of each state: an index knows the order within a state, and is read no further than this."""
    unsettled = or_(Ticket.landing.is_(None), Ticket.landing != LandingState.PENDING)
    each = (
        select(Ticket.id)
        .where(Ticket.status == status, Ticket.archived == false(), unsettled)
        .order_by(Ticket.updated)
        .limit(limit)
        .subquery()
        for status in sorted(ATTENTION)
    )
    return union_all(*(select(some.c.id) for some in each))


def _cause(ticket: Ticket) -> str:
    return (ticket.block or {}).get("next_action") or landing.told(ticket) or ticket.failure_reason or ""


SPOKEN = (
    in_ids(TicketComment.ticket_id, "tickets"),
    TicketComment.kind.in_((CommentKind.QUESTION, CommentKind.VERDICT)),
)
NEWEST = select(func.max(TicketComment.id)).where(*SPOKEN).group_by(TicketComment.ticket_id)
LAST_WORDS = select(TicketComment.ticket_id, TicketComment.body).where(TicketComment.id.in_(NEWEST))


def _last_words(session: Session, ticket_ids: list[int]) -> dict[int, str]:
    """The first line of what each ticket's agent asked or handed in last."""
    said = fetch_rows(session, LAST_WORDS, tickets=ticket_ids)
    return {ticket_id: next(iter(body.strip().splitlines()), "")[:LINE] for ticket_id, body in said}


AT_WORK = (
    select(Run, Ticket.identifier, Ticket.title)
    .join(Ticket, Ticket.id == Run.ticket_id)
    .where(Run.state != RunState.ENDED)
)


def at_work(session: Session) -> list[View]:
    """The runs that have not ended, oldest first; put in order here, so that their own index finds them."""
    found = sorted(session.execute(AT_WORK), key=lambda row: row[0].id)
    return [
        {
            "identifier": identifier,
            "title": title,
            "agent": run.agent,
            "line": run.live_line,
            "started": run.started,
            "cost": run.cost_usd,
        }
        for run, identifier, title in found
    ]


def counts(session: Session) -> list[tuple[str, str]]:
    """How many tickets are in each state, counted up to a thousand."""
    return list(columns.tally(session, Filters()).items())


def finished(session: Session) -> View:
    """Tickets done a day over the last two weeks, as a plot; each day is counted in an index."""
    return _plot("Done", _by_day(session, "done"), "{:.0f}")


def spent(session: Session) -> View:
    """Money a day over the last two weeks, as a plot."""
    return _plot("Cost", _by_day(session, "cost"), "${:.2f}")


def took(session: Session) -> View:
    """How long tickets took from the start of their first run to their end: the median of each day's, as a plot."""
    days = _days()
    spans: dict[date, list[float]] = {day.date(): [] for day in days}
    for closed, began in fetch_rows(session, FINISHED, since=days[0]):
        spans.get(closed.date(), []).append((closed - began).total_seconds())
    points = [_point(day, median(each or [0.0]), span(median(each)) if each else "none") for day, each in spans.items()]
    every = [seconds for each in spans.values() for seconds in each]
    value = span(median(every)) if every else "–"
    return {"label": "Cycle time", "value": value, "note": f"median of {DAYS} days", "points": points}


FIRST_START = select(func.min(Run.started)).where(Run.ticket_id == Ticket.id).scalar_subquery()
FINISHED: Select[Any, Any] = (
    select(Ticket.closed, func.coalesce(FIRST_START, Ticket.created))
    .where(Ticket.status == TicketStatus.DONE, Ticket.closed >= bindparam("since"))
    .order_by(Ticket.closed.desc())
    .limit(MEASURED)
)
"""When each ticket was closed and when its work began, of those finished last."""


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _days() -> list[datetime]:
    """The beginnings of the last days, in UTC, today last."""
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    return [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def _by_day(session: Session, name: str) -> dict[date, float]:
    """One of the `MEASURES` for each of the last days, in UTC, today last."""
    days = _days()
    found: dict[int, float | None] = {at: number for at, number in session.execute(_each_of(tuple(days), name))}  # noqa: C416
    return {day.date(): float(found[at] or 0) for at, day in enumerate(days)}


MEASURES: dict[str, tuple[ColumnElement[Any], InstrumentedAttribute[Any], ColumnElement[bool]]] = {
    "done": (func.count(), Ticket.closed, Ticket.status == TicketStatus.DONE),
    "cost": (func.sum(Run.cost_usd), Run.started, true()),
}
"""What is added up of a day, the moment that puts a row into its day, and which rows count."""


@lru_cache(len(MEASURES))  # without it the overview takes 24 % longer
def _each_of(days: tuple[datetime, ...], name: str) -> CompoundSelect[Any]:
    """All of the days in one statement, built once a day."""
    amount, moment, counts = MEASURES[name]
    return union_all(
        *(
            select(literal_column(str(at)), amount).where(counts, moment >= day, moment < day + timedelta(days=1))
            for at, day in enumerate(days)
        )
    )


def _plot(label: str, tally: dict[date, float], form: str) -> View:
    points = [_point(day, amount, form.format(amount)) for day, amount in tally.items()]
    return {"label": label, "value": form.format(sum(tally.values())), "note": f"in {DAYS} days", "points": points}


def _point(day: date, amount: float, words: str) -> View:
    return {"label": f"{day:%d %b}", "value": amount, "text": words}


def tasks(session: Session) -> list[View]:
    """The last run of each scheduled task."""
    return [
        {"name": row.task, "outcome": row.outcome.value if row.outcome else None, "at": row.ended or row.started}
        for row in latest(session).values()
    ]


INCIDENTS = (
    select(Incident)
    .where(Incident.state.in_([state for state in IncidentState if state is not IncidentState.CLOSED]))
    .order_by(Incident.last_seen.desc())
    .limit(SHOWN)
)


def incidents(session: Session) -> list[View]:
    return [
        {
            "id": row.id,
            "title": row.title,
            "count": row.count,
            "last_seen": row.last_seen,
            "href": f"/incidents#incident-{row.id}",
        }
        for row in session.scalars(INCIDENTS)
    ]
