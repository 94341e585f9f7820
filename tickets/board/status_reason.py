"""Why a ticket stands where it stands, in one line: what is asked, what it waits for, and what has gone wrong.

What is stuck is decided here alone, by `causes`; the lane of stuck tickets and the line on a card both come from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from database import fetch_rows, in_ids
from models import (
    Agent,
    CommentKind,
    RequestState,
    Run,
    RunRequest,
    RunState,
    Ticket,
    TicketComment,
    TicketStatus,
    WakeKind,
    ago,
    now,
)
from protocol import ApprovalPayload
from tickets.runs import runtime
from tickets.shared import payloads
from tickets.shared.ticket_row import AnyTicket
from tickets.team import agents
from tickets.workflow import landing, relationships, wake_conditions

GRACE = timedelta(minutes=5)
"""The dispatcher wakes what is due once a minute; what still sleeps after this was forgotten."""
EXPECTED = (TicketStatus.INBOX, TicketStatus.TODO, TicketStatus.IN_PROGRESS, TicketStatus.WAITING)
SHOWN = 240
AWAITED = aliased(Ticket)


class Reason(NamedTuple):
    """`kind` chooses the icon; `at` is the moment that the words lead up to."""

    kind: str
    text: str
    at: datetime | None = None


# -------------------------------------------------------------------------------------------------------- what is stuck


def causes(attempts: int) -> dict[str, list[ColumnElement[bool]]]:
    """Everything that leaves a ticket stuck, the gravest first; each can be found through an index.

    `attempts` is the number after which a ticket is tried no more. What asks a person is not stuck: it needs them.
    """
    ended = select(AWAITED.id).where(AWAITED.id == Ticket.wake_ticket_id, AWAITED.closed < ago(GRACE)).exists()
    agents = select(Agent.name).where(Agent.runnable == true(), Agent.profile.is_not(None))
    at_work, parked = Ticket.status == TicketStatus.IN_PROGRESS, _aside(Ticket.status) == TicketStatus.WAITING
    return {
        "blocked": [Ticket.status == TicketStatus.BLOCKED],
        "unheard": [at_work, Ticket.id.in_(runtime.unheard())],
        "adrift": [
            at_work,
            Ticket.assigned_to.is_not(None),
            Ticket.assigned_to.in_(agents),
            Ticket.id.not_in(runtime.held()),
        ],
        "exhausted": [
            _aside(Ticket.status) == TicketStatus.TODO,
            Ticket.closed.is_(None),
            Ticket.attempts > 0,
            Ticket.attempts >= attempts,
        ],
        "overslept": [parked, Ticket.wake_at.is_not(None), Ticket.wake_at < ago(GRACE)],
        "forgotten": [parked, Ticket.wake_ticket_id > 0, ended],
        "overdue": [
            _aside(Ticket.status).in_(EXPECTED),
            Ticket.closed.is_(None),
            Ticket.expected_check_in.is_not(None),
            Ticket.expected_check_in < ago(),
            Ticket.id.not_in(runtime.asking()),
        ],
    }


def _aside(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """The column as no index knows it: few tickets meet the other conditions, but a state may hold very many."""
    return func.coalesce(column, column)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known around some tickets, to judge each of them without a query of its own."""

    moment: datetime
    attempts: int
    live: dict[int, Run]
    runnable: set[str]
    ended: set[int]

    def runtime(self, ticket: AnyTicket) -> str:
        return runtime.state(self.live.get(ticket.id))


ENDED = select(Ticket.id).where(in_ids(Ticket.id, "tickets"), Ticket.closed < ago(GRACE))


def _seen(session: Session, tickets: Sequence[AnyTicket], live: dict[int, Run], attempts: int) -> Seen:
    moment = now()
    awaited = [ticket.wake_ticket_id for ticket in tickets if ticket.wake_ticket_id]
    ended = set(fetch_rows(session, ENDED, tickets=awaited).scalars()) if awaited else set()
    return Seen(moment, attempts, live, agents.runnable(session), ended)


def _cause(ticket: AnyTicket, seen: Seen) -> str | None:
    """The gravest of the `causes` that hold for a ticket at hand."""
    status = ticket.status
    if status is TicketStatus.BLOCKED:
        return "blocked"
    if status not in EXPECTED:
        return None
    due = ticket.expected_check_in is not None and ticket.expected_check_in < seen.moment
    overdue = "overdue" if due and seen.runtime(ticket) != "waiting" else None
    match status:
        case TicketStatus.IN_PROGRESS:
            adrift = ticket.assigned_to in seen.runnable
            return {"unknown": "unheard", "closed": "adrift" if adrift else overdue}.get(seen.runtime(ticket), overdue)
        case TicketStatus.TODO:
            return "exhausted" if 0 < seen.attempts <= ticket.attempts else overdue
        case TicketStatus.WAITING:
            overslept = ticket.wake_at is not None and ticket.wake_at < seen.moment - GRACE
            return "overslept" if overslept else "forgotten" if ticket.wake_ticket_id in seen.ended else overdue
    return overdue


def _trouble(cause: str, ticket: AnyTicket, run: Run | None) -> Reason:
    match cause:
        case "blocked":
            return Reason(cause, (ticket.block or {}).get("next_action", ""))
        case "unheard":
            return Reason(cause, "Its run was last heard", runtime.heard(run) if run else None)
        case "adrift":
            return Reason(cause, "In progress, and no run holds it")
        case "exhausted":
            return Reason(cause, _tried(ticket))
        case "overslept":
            return Reason(cause, "Should have woken", ticket.wake_at)
        case "forgotten":
            return Reason(cause, f"Still parked {wake_conditions.words(ticket.wake)}, which it is")
        case _:
            return Reason(cause, "Its check-in was due", ticket.expected_check_in)


# ---------------------------------------------------------------------------------------------------------- in one line


@dataclass(frozen=True, slots=True)
class Said:
    """What the tickets of one page stand for, in the words of others: questions, requests, summaries, blockers."""

    questions: dict[int, str]
    requests: dict[int, str]
    summaries: dict[int, str]
    blockers: dict[int, list[str]]


def of(session: Session, tickets: Sequence[AnyTicket], live: dict[int, Run], attempts: int) -> dict[int, Reason]:
    """The reason of each of these tickets that has one, in a constant number of queries."""
    said, seen = _said(session, tickets, live), _seen(session, tickets, live, attempts)
    found: dict[int, Reason] = {}
    for ticket in tickets:
        cause = _cause(ticket, seen)
        reason = _trouble(cause, ticket, live.get(ticket.id)) if cause else _standing(ticket, said)
        if reason is not None:
            found[ticket.id] = reason
    return found


def _standing(ticket: AnyTicket, said: Said) -> Reason | None:
    """Why a ticket that is not stuck is where it is."""
    if ticket.id in said.requests:
        return Reason("request", said.requests[ticket.id])
    match ticket.status:
        case TicketStatus.NEEDS_INPUT:
            return Reason("question", said.questions.get(ticket.id, "A question waits for an answer"))
        case TicketStatus.IN_REVIEW:
            return _landing(ticket) or Reason("review", said.summaries.get(ticket.id) or "Handed in without a word")
        case TicketStatus.WAITING:
            return _parked(ticket)
        case TicketStatus.TODO:
            return _queued(ticket, said.blockers.get(ticket.id, []))
        case _:
            return None


def _landing(ticket: AnyTicket) -> Reason | None:
    """What was approved is being landed, or could not be."""
    told = landing.told(ticket)
    return Reason("landing" if landing.is_pending(ticket) else "unlanded", told) if told else None


def _parked(ticket: AnyTicket) -> Reason:
    if ticket.wake_at:
        reset = (ticket.wake or {}).get("kind") == WakeKind.USAGE_RESET
        return Reason("parked", "The usage limit ends" if reset else "Wakes", ticket.wake_at)
    return Reason("parked", f"Parked {wake_conditions.words(ticket.wake)}")


def _queued(ticket: AnyTicket, blockers: list[str]) -> Reason | None:
    if blockers:
        return Reason("blockers", f"Blocked by {', '.join(blockers)}")
    if ticket.not_before and ticket.not_before > now():
        return Reason("later", "May start", ticket.not_before)
    if ticket.attempts:
        return Reason("tried", _tried(ticket))
    return None


def _tried(ticket: AnyTicket) -> str:
    times = {1: "once", 2: "twice"}.get(ticket.attempts, f"{ticket.attempts} times")
    return f"Tried {times}: {ticket.failure_reason or 'nothing was said of why it failed'}"


def _said(session: Session, tickets: Sequence[AnyTicket], live: dict[int, Run]) -> Said:
    ids: dict[TicketStatus, list[int]] = {}
    for ticket in tickets:
        ids.setdefault(ticket.status, []).append(ticket.id)
    return Said(
        _questions(session, ids.get(TicketStatus.NEEDS_INPUT, [])),
        _requests(session, live),
        _summaries(session, ids.get(TicketStatus.IN_REVIEW, [])),
        relationships.open_blockers(session, ids.get(TicketStatus.TODO, [])),
    )


ASKED = (
    in_ids(TicketComment.ticket_id, "tickets"),
    TicketComment.kind == CommentKind.QUESTION,
)
NEWEST_ASKED = select(func.max(TicketComment.id)).where(*ASKED).group_by(TicketComment.ticket_id)
QUESTIONS = select(TicketComment.ticket_id, func.substr(TicketComment.body, 1, SHOWN)).where(
    TicketComment.id.in_(NEWEST_ASKED)
)


def _questions(session: Session, ids: Sequence[int]) -> dict[int, str]:
    if not ids:
        return {}
    return {ticket_id: _line(body) for ticket_id, body in fetch_rows(session, QUESTIONS, tickets=ids)}


REQUESTS = (
    select(RunRequest.ticket_id, RunRequest.kind, RunRequest.payload)
    .where(in_ids(RunRequest.run_id, "runs"), RunRequest.state == RequestState.PENDING)
    .order_by(RunRequest.id.desc())
)


def _requests(session: Session, live: dict[int, Run]) -> dict[int, str]:
    """What live runs wait for; the oldest of several is answered first."""
    if not live:
        return {}
    found = {
        ticket_id: "Its agent waits for an answer" for ticket_id, run in live.items() if run.state is RunState.WAITING
    }
    asked = fetch_rows(session, REQUESTS, runs=[run.id for run in live.values()])
    return found | {ticket_id: _line(_asked(kind, payload)) for ticket_id, kind, payload in asked}


def _asked(kind: str, payload: dict[str, Any]) -> str:
    if kind == "question":
        return payloads.read_questions(payload)[0].text
    wanted = payloads.read(ApprovalPayload, payload)
    return f"Asks leave to use {wanted.tool or 'a tool'}: {wanted.title}"


NEWEST_RUNS = select(func.max(Run.id)).where(in_ids(Run.ticket_id, "tickets")).group_by(Run.ticket_id)
SUMMARIES = select(Run.ticket_id, Run.summary).where(Run.id.in_(NEWEST_RUNS))


def _summaries(session: Session, ids: Sequence[int]) -> dict[int, str]:
    if not ids:
        return {}
    return {ticket_id: _line(summary or "") for ticket_id, summary in fetch_rows(session, SUMMARIES, tickets=ids)}


def _line(text: str) -> str:
    return " ".join(text.split())[:SHOWN]
