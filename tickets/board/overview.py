"""The overview page: what needs a person, live runs, finished tickets, and scheduled tasks."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from itertools import chain
from statistics import median
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    bindparam,
    exists,
    false,
    func,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from database import fetch_rows, in_ids, once_per_session
from models import (
    TERMINAL,
    CommentKind,
    Incident,
    IncidentState,
    QueuedMessage,
    Run,
    RunState,
    Ticket,
    TicketComment,
    TicketStatus,
    now,
)
from tickets.conversation import messages
from tickets.runs import runtime
from tickets.runs.runtime import NEEDS_PERSON
from tickets.schedule.tasks import load_latest
from tickets.shared.canary import IS_ORDINARY_RUN, IS_ORDINARY_TICKET
from tickets.shared.paging import MAX_COUNT
from tickets.team import agents, projects
from tickets.workflow import landing

from . import columns
from .columns import ATTENTION_STATES, Card, Filters, Viewer

View = dict[str, Any]
PAGE_SIZE = 12
MAX_NEEDS = 100
DECIDING_MOVES = ("answer", "approve")
"""Moves that are offered beside a ticket that waits for a person."""
DAYS = 14
MAX_LINE_CHARACTERS = 200
ASKING_TEXT = "The agent is waiting for an answer."
UNDELIVERED_TEXT = "A message did not reach the agent: send it again or dismiss it."
OUTSIDE_TEXT = "Runs outside Mission Control and has been silent for too long."
MAX_MEASURED = 2000
"""Maximum number of finished tickets for the cycle time."""


def list_needs(session: Session, limit: int = PAGE_SIZE) -> list[View]:
    """List what waits for a person, longest waiting first.

    Tickets whose running agent asks something come first, then questions, reviews and blocked tickets, then those with a
    message that was not delivered.
    """
    return [_build_need(ticket, line) for ticket, line in _load_needs(session, limit)]


def list_decisions(session: Session, viewer: Viewer) -> list[View]:
    """List what waits for a person like `list_needs`, each with its `version` and the `moves` that decide it."""
    needs = _load_needs(session, PAGE_SIZE)
    cards = columns.build_cards(session, [ticket for ticket, _ in needs], viewer)
    return [_build_need(ticket, line) | _build_decision(cards[ticket.id], line) for ticket, line in needs]


def _build_decision(card: Card, line: str) -> View:
    moves = [button for button in card.moves if button.move in DECIDING_MOVES]
    return {"version": card.version, "moves": moves, "asks": line == ASKING_TEXT and bool(card.moves)}


def _build_need(ticket: Ticket, line: str) -> View:
    return {
        "identifier": ticket.identifier,
        "title": ticket.title,
        "status": ticket.status.value,
        "line": line,
        "since": ticket.updated,
    }


def _load_needs(session: Session, limit: int) -> list[tuple[Ticket, str]]:
    needs = [
        (ticket, OUTSIDE_TEXT if runtime.is_silent_outside(run) else ASKING_TEXT)
        for ticket, run in session.execute(_select_asking(limit))
    ]
    waiting = list(session.scalars(_select_waiting(limit)))
    undelivered = list(session.scalars(_select_undelivered(limit)))
    last_words = _load_last_words(session, [ticket.id for ticket in waiting])
    needs += [(ticket, _describe_cause(ticket) or last_words.get(ticket.id, "")) for ticket in waiting]
    needs += [(ticket, UNDELIVERED_TEXT) for ticket in undelivered]
    return needs[:limit]


def load_first_steps(session: Session) -> View | None:
    """Load the number of projects and the runnable agents for the first steps, or return None when there is a ticket."""
    if not columns.is_board_empty(session):
        return None
    return {"projects": len(projects.list_projects(session)), "agents": sorted(agents.list_runnable(session))}


@once_per_session
def count_needs(session: Session) -> int:
    """Count what waits for a person, up to a thousand."""
    return min(MAX_COUNT, sum(fetch_rows(session, _build_count()).one()))


@cache  # without it a ticket's page and the board take 12 % longer
def _build_count() -> Select[*tuple[int, ...]]:
    """Build the counting statement once, as every page runs it and building costs more than running."""
    asking = _select_asking(MAX_COUNT).with_only_columns(Ticket.id).order_by(None).subquery()
    undelivered = _select_undelivered(MAX_COUNT).with_only_columns(Ticket.id).order_by(None).subquery()
    parts = (asking, _select_longest_waiting(MAX_COUNT).subquery(), undelivered)
    return select(*(select(func.count()).select_from(subquery).scalar_subquery() for subquery in parts))


def list_queue(session: Session) -> list[str]:
    """List the identifiers of what waits for a person, in the order of `list_needs`, up to a thousand."""
    statements = _select_asking(MAX_COUNT), _select_waiting(MAX_COUNT), _select_undelivered(MAX_COUNT)
    rows = [fetch_rows(session, statement.with_only_columns(Ticket.identifier)) for statement in statements]
    return list(dict.fromkeys(identifier for (identifier,) in chain(*rows)))


def _select_asking(limit: int) -> Select[Ticket, Run]:
    """Select the tickets whose live run needs a person, with that run, from the index of live runs."""
    oldest_first = Run.id + 0  # an expression, since SQLite would read the whole table in the order of its key
    return (
        select(Ticket, Run)
        .join(Run, Run.ticket_id == Ticket.id)
        .where(NEEDS_PERSON, IS_ORDINARY_RUN)
        .order_by(oldest_first)
        .limit(limit)
    )


@cache  # without it the overview takes 15 % longer
def _select_waiting(limit: int) -> Select[Ticket]:
    longest = _select_longest_waiting(limit).subquery()
    return select(Ticket).where(Ticket.id.in_(select(longest.c.id))).order_by(Ticket.updated).limit(limit)


def _select_longest_waiting(limit: int) -> CompoundSelect[int]:
    """Select the ids of the longest waiting tickets per state, so that the index on each state is read no further."""
    subqueries = (
        select(Ticket.id)
        .where(Ticket.status == status, Ticket.archived == false(), landing.IS_NOT_PENDING)
        .order_by(Ticket.updated)
        .limit(limit)
        .subquery()
        for status in sorted(ATTENTION_STATES)
    )
    return union_all(*(select(subquery.c.id) for subquery in subqueries))


@cache
def _select_undelivered(limit: int) -> Select[Ticket]:
    """Select the open tickets with a message that was not delivered, unless they need a person already."""
    asking = exists().where(Run.ticket_id == Ticket.id, NEEDS_PERSON)
    senders = select(QueuedMessage.ticket_id).where(messages.NEEDS_PERSON)
    others = (Ticket.status.not_in([*ATTENTION_STATES, *TERMINAL]), Ticket.archived == false(), ~asking)
    return select(Ticket).where(Ticket.id.in_(senders), *others).order_by(Ticket.updated).limit(limit)


def _describe_cause(ticket: Ticket) -> str:
    return (ticket.block or {}).get("next_action") or landing.describe_landing(ticket) or ticket.failure_reason or ""


LAST_REPORTS = (
    in_ids(TicketComment.ticket_id, "tickets"),
    TicketComment.kind.in_((CommentKind.QUESTION, CommentKind.VERDICT)),
)
NEWEST = select(func.max(TicketComment.id)).where(*LAST_REPORTS).group_by(TicketComment.ticket_id)
LAST_WORDS = select(TicketComment.ticket_id, TicketComment.body).where(TicketComment.id.in_(NEWEST))


def _load_last_words(session: Session, ticket_ids: list[int]) -> dict[int, str]:
    """Load the first line of each ticket's last question or verdict."""
    rows = fetch_rows(session, LAST_WORDS, tickets=ticket_ids)
    return {ticket_id: next(iter(body.strip().splitlines()), "")[:MAX_LINE_CHARACTERS] for ticket_id, body in rows}


AT_WORK = (
    select(Run, Ticket.identifier, Ticket.title)
    .join(Ticket, Ticket.id == Run.ticket_id)
    .where(Run.state != RunState.ENDED, IS_ORDINARY_RUN)
)


def list_at_work(session: Session) -> list[View]:
    """List the live runs, oldest first, sorted here so that the query uses the index on the state."""
    rows = sorted(session.execute(AT_WORK), key=lambda row: row[0].id)
    return [
        {
            "id": run.id,
            "identifier": identifier,
            "title": title,
            "agent": run.agent,
            "line": run.live_line,
            "started": run.started,
            "cost": run.cost_usd,
        }
        for run, identifier, title in rows
    ]


def count_by_state(session: Session) -> list[tuple[str, str]]:
    """Count the tickets in each state, up to a thousand."""
    return list(columns.count_by_state(session, Filters()).items())


def plot_finished(session: Session) -> View:
    """Plot the tickets finished per day over the last two weeks, each day counted through an index."""
    return _build_plot("Done", _measure_days(session, "done"), "{:.0f}")


def plot_cost(session: Session) -> View:
    """Plot the cost per day over the last two weeks."""
    return _build_plot("Cost", _measure_days(session, "cost"), "${:.2f}")


def plot_cycle_time(session: Session) -> View:
    """Plot the daily median of the time from a ticket's first run to its end, over the last two weeks."""
    days = _list_days()
    spans: dict[date, list[float]] = {day.date(): [] for day in days}
    for closed_at, began_at in fetch_rows(session, FINISHED_TICKETS, since=days[0]):
        spans.get(closed_at.date(), []).append((closed_at - began_at).total_seconds())
    points = [
        _build_point(day, median(durations or [0.0]), format_span(median(durations)) if durations else "none")
        for day, durations in spans.items()
    ]
    all_durations = [seconds for durations in spans.values() for seconds in durations]
    value = format_span(median(all_durations)) if all_durations else "–"
    return {"label": "Cycle time", "value": value, "note": f"median of {DAYS} days", "points": points}


FIRST_START = select(func.min(Run.started)).where(Run.ticket_id == Ticket.id).scalar_subquery()
FINISHED_TICKETS: Select[Any, Any] = (
    select(Ticket.closed, func.coalesce(FIRST_START, Ticket.created))
    .where(Ticket.status == TicketStatus.DONE, IS_ORDINARY_TICKET, Ticket.closed >= bindparam("since"))
    .order_by(Ticket.closed.desc())
    .limit(MAX_MEASURED)
)
"""Close time and start of work of the most recently finished tickets."""


def format_span(seconds: float) -> str:
    """Format a duration: `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _list_days() -> list[datetime]:
    """List the starts of the last days, in UTC, today last."""
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    return [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def _measure_days(session: Session, name: str) -> dict[date, float]:
    """Measure one of the `MEASURES` for each of the last days, in UTC, today last."""
    days = _list_days()
    amounts: dict[int, float | None] = {at: number for at, number in session.execute(_select_days(tuple(days), name))}  # noqa: C416
    return {day.date(): float(amounts[at] or 0) for at, day in enumerate(days)}


MEASURES: dict[str, tuple[ColumnElement[Any], InstrumentedAttribute[Any], ColumnElement[bool]]] = {
    "done": (func.count(), Ticket.closed, and_(Ticket.status == TicketStatus.DONE, IS_ORDINARY_TICKET)),
    "cost": (func.sum(Run.cost_usd), Run.started, true()),
}
"""For each measure: the aggregate, the timestamp that assigns a row to a day, and the condition for rows that count."""


@lru_cache(len(MEASURES))  # without it the overview takes 24 % longer
def _select_days(days: tuple[datetime, ...], name: str) -> CompoundSelect[Any]:
    """Build the statement for all days, once a day."""
    amount, moment, counts = MEASURES[name]
    return union_all(
        *(
            select(literal_column(str(at)), amount).where(counts, moment >= day, moment < day + timedelta(days=1))
            for at, day in enumerate(days)
        )
    )


def _build_plot(label: str, tally: dict[date, float], form: str) -> View:
    points = [_build_point(day, amount, form.format(amount)) for day, amount in tally.items()]
    return {"label": label, "value": form.format(sum(tally.values())), "note": f"in {DAYS} days", "points": points}


def _build_point(day: date, amount: float, words: str) -> View:
    return {"label": f"{day:%d %b}", "value": amount, "text": words}


def list_tasks(session: Session) -> list[View]:
    """List the last run of each scheduled task."""
    return [
        {"name": row.task, "outcome": row.outcome.value if row.outcome else None, "at": row.ended or row.started}
        for row in load_latest(session).values()
    ]


OPEN_INCIDENTS = (
    select(Incident)
    .where(Incident.state.in_([state for state in IncidentState if state is not IncidentState.CLOSED]))
    .order_by(Incident.last_seen.desc())
    .limit(PAGE_SIZE)
)


def list_incidents(session: Session) -> list[View]:
    return [
        {
            "id": row.id,
            "title": row.title,
            "count": row.count,
            "last_seen": row.last_seen,
            "href": f"/incidents#incident-{row.id}",
        }
        for row in session.scalars(OPEN_INCIDENTS)
    ]
