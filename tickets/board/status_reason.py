"""The reason of a ticket's current state in one line: a question, a wait, or a problem.

What is stuck is decided here alone, by the conditions of `causes`: the lane of stuck tickets and the line on a card are
both read with them. When a run counts as silent is decided in `tickets/runs/runtime.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Integer, and_, bindparam, case, func, select, true
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
    ago,
    now,
)
from protocol import PLAN_SUMMARY, ApprovalPayload
from tickets.conversation.requests import PLAN_REQUEST
from tickets.dispatch.policy import DispatchLimits
from tickets.runs import runtime
from tickets.shared import payloads
from tickets.shared.ticket_row import AnyTicket
from tickets.workflow import attempts, code_reviews, landing, wake_conditions

from . import queue_notes
from .queue_notes import QueueNotes

GRACE = timedelta(minutes=5)
"""The dispatcher wakes due tickets once a minute. One that still waits after this time was missed."""
CHECK_IN_STATES = (TicketStatus.INBOX, TicketStatus.TODO, TicketStatus.IN_PROGRESS, TicketStatus.WAITING)
MAX_CHARACTERS = 240
UNANSWERABLE_TEXT = "The agent is waiting, but there is nothing to answer here. Check its console, or stop the run"
AWAITED_TICKET = aliased(Ticket)


class StatusReason(NamedTuple):
    """A reason in words, with `kind` for the icon and `at` for the time that follows the text."""

    kind: str
    text: str
    at: datetime | None = None


# ------------------------------------------------------------------------------------------------------ stuck tickets


def build_causes(attempts: int | BindParameter[int]) -> dict[str, list[ColumnElement[bool]]]:
    """Build the conditions for each cause of a stuck ticket, most serious first, each served by an index.

    `attempts` is the number of attempts allowed. A ticket that waits for a person is not stuck.
    """
    ended = (
        select(AWAITED_TICKET.id)
        .where(AWAITED_TICKET.id == Ticket.wake_ticket_id, AWAITED_TICKET.closed < ago(GRACE))
        .exists()
    )
    agents = select(Agent.name).where(Agent.runnable == true(), Agent.profile.is_not(None))
    at_work, is_waiting = (
        Ticket.status == TicketStatus.IN_PROGRESS,
        _hide_from_index(Ticket.status) == TicketStatus.WAITING,
    )
    return {
        "blocked": [Ticket.status == TicketStatus.BLOCKED],
        "unheard": [at_work, Ticket.id.in_(runtime.select_unheard())],
        "adrift": [
            at_work,
            Ticket.assigned_to.is_not(None),
            Ticket.assigned_to.in_(agents),
            Ticket.id.not_in(runtime.select_held()),
        ],
        "exhausted": [
            _hide_from_index(Ticket.status) == TicketStatus.TODO,
            Ticket.closed.is_(None),
            Ticket.attempts > 0,
            Ticket.attempts >= attempts,
        ],
        "overslept": [is_waiting, Ticket.wake_at.is_not(None), Ticket.wake_at < ago(GRACE)],
        "forgotten": [is_waiting, Ticket.wake_ticket_id > 0, ended],
        "overdue": [
            _hide_from_index(Ticket.status).in_(CHECK_IN_STATES),
            Ticket.closed.is_(None),
            Ticket.expected_check_in.is_not(None),
            Ticket.expected_check_in < ago(),
            Ticket.id.not_in(runtime.select_asking()),
        ],
    }


def _hide_from_index(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Wrap a column so that no index on it is used: few tickets meet the other conditions, but many may have the state."""
    return func.coalesce(column, column)


GRAVEST = select(
    Ticket.id,
    case(
        *(
            (and_(*conditions), cause)
            for cause, conditions in build_causes(bindparam("attempts", type_=Integer)).items()
        )
    ),
).where(in_ids(Ticket.id, "tickets"))


def _find_causes(session: Session, tickets: Sequence[AnyTicket], attempts: int) -> dict[int, str]:
    """The gravest of the `causes` of each of these tickets that is stuck."""
    if not tickets:
        return {}
    rows = fetch_rows(session, GRAVEST, tickets=[ticket.id for ticket in tickets], attempts=attempts)
    return {ticket_id: cause for ticket_id, cause in rows if cause}


def _describe_cause(cause: str, ticket: AnyTicket, run: Run | None) -> StatusReason:
    match cause:
        case "blocked":
            return StatusReason(cause, (ticket.block or {}).get("next_action", ""))
        case "unheard":
            return StatusReason(cause, "Run last seen", runtime.get_last_sign(run) if run else None)
        case "adrift":
            return StatusReason(cause, "In progress without a run")
        case "exhausted":
            return StatusReason(cause, _describe_attempts(ticket))
        case "overslept":
            return StatusReason(cause, "Should have woken up", ticket.wake_at)
        case "forgotten":
            return StatusReason(cause, f"Still parked {wake_conditions.describe_wake(ticket.wake)}, which has happened")
        case _:
            return StatusReason(cause, "Check-in was due", ticket.expected_check_in)


# ------------------------------------------------------------------------------------------------------- reason texts


@dataclass(frozen=True, slots=True)
class ReasonTexts:
    """Texts of other rows for the tickets of one page: questions, requests, summaries, notes of the queue, open attempts.

    `reviewers` are the agents and councils that review a ticket now.
    """

    questions: dict[int, str]
    requests: dict[int, str]
    summaries: dict[int, str]
    queue: QueueNotes
    attempts: dict[int, list[str]]
    reviewers: dict[int, str]


def load_reasons(
    session: Session, tickets: Sequence[AnyTicket], live: dict[int, Run], limits: DispatchLimits
) -> dict[int, StatusReason]:
    """Load the reason of each of these tickets that has one, in a constant number of queries."""
    texts = _load_texts(session, tickets, live, limits)
    causes_by_ticket = _find_causes(session, tickets, limits.attempts)
    reasons: dict[int, StatusReason] = {}
    for ticket in tickets:
        cause = causes_by_ticket.get(ticket.id)
        run = live.get(ticket.id)
        reason = (
            _describe_cause(cause, ticket, run) if cause else _describe_silence(run) or _describe_state(ticket, texts)
        )
        if reason is not None:
            reasons[ticket.id] = reason
    return reasons


def _describe_silence(run: Run | None) -> StatusReason | None:
    """Describe a run outside Mission Control that has been silent for longer than its limit."""
    if run is None or not runtime.is_silent_outside(run):
        return None
    return StatusReason("unheard", "Runs outside Mission Control, last seen", runtime.get_last_sign(run))


def _describe_state(ticket: AnyTicket, texts: ReasonTexts) -> StatusReason | None:
    """Describe the state of a ticket that is not stuck."""
    if ticket.id in texts.requests:
        return StatusReason("request", texts.requests[ticket.id])
    if ticket.id in texts.reviewers and not ticket.landing:
        return StatusReason("reviewing", f"Being reviewed by {texts.reviewers[ticket.id]}")
    match ticket.status:
        case TicketStatus.NEEDS_INPUT:
            return StatusReason("question", texts.questions.get(ticket.id, "Question waiting for an answer"))
        case TicketStatus.IN_REVIEW:
            return _describe_landing(ticket) or StatusReason(
                "review", texts.summaries.get(ticket.id) or "Submitted without a summary"
            )
        case TicketStatus.WAITING:
            return _describe_wait(ticket, texts.attempts.get(ticket.id, []))
        case TicketStatus.TODO:
            return _describe_queue(ticket, texts.queue)
        case _:
            return None


def _describe_landing(ticket: AnyTicket) -> StatusReason | None:
    """Describe a pending or failed landing."""
    text = landing.describe_landing(ticket)
    return StatusReason("landing" if landing.is_pending(ticket) else "unlanded", text) if text else None


def _describe_wait(ticket: AnyTicket, open_attempts: list[str]) -> StatusReason:
    if open_attempts:
        return StatusReason("parked", f"Waits for its attempts {', '.join(open_attempts)}")
    if ticket.wake_at:
        is_reset = wake_conditions.is_usage_reset(ticket.wake)
        return StatusReason(
            *(("resumes", "Resumes automatically") if is_reset else ("parked", "Wakes")), ticket.wake_at
        )
    return StatusReason("parked", f"Parked {wake_conditions.describe_wake(ticket.wake)}")


def _describe_queue(ticket: AnyTicket, notes: QueueNotes) -> StatusReason | None:
    if ticket.id in notes.blockers:
        return StatusReason("blockers", f"After {', '.join(notes.blockers[ticket.id])}")
    if ticket.not_before and ticket.not_before > now():
        return StatusReason("later", "Can start", ticket.not_before)
    if ticket.id in notes.holds:
        return StatusReason("held", notes.holds[ticket.id])
    return _describe_start(ticket, notes.next.get(ticket.id))


def _describe_start(ticket: AnyTicket, note: str | None) -> StatusReason | None:
    parts = [*([note] if note else []), *([_describe_attempts(ticket)] if ticket.attempts else [])]
    return StatusReason("next" if note else "tried", ". ".join(parts)) if parts else None


def _describe_attempts(ticket: AnyTicket) -> str:
    times = {1: "once", 2: "twice"}.get(ticket.attempts, f"{ticket.attempts} times")
    return f"Tried {times}: {ticket.failure_reason or 'no reason was given'}"


def _load_texts(
    session: Session, tickets: Sequence[AnyTicket], live: dict[int, Run], limits: DispatchLimits
) -> ReasonTexts:
    ids: dict[TicketStatus, list[int]] = {}
    for ticket in tickets:
        ids.setdefault(ticket.status, []).append(ticket.id)
    return ReasonTexts(
        _load_questions(session, ids.get(TicketStatus.NEEDS_INPUT, [])),
        _load_requests(session, live),
        _load_summaries(session, ids.get(TicketStatus.IN_REVIEW, [])),
        queue_notes.load_notes(
            session, [ticket for ticket in tickets if ticket.status is TicketStatus.TODO], live, limits
        ),
        attempts.find_open_attempts(session, ids.get(TicketStatus.WAITING, [])),
        code_reviews.find_open_reviewers(
            session, [ticket.id for ticket in tickets if ticket.status in code_reviews.REVIEWED_STATES]
        ),
    )


QUESTION_COMMENTS = (
    in_ids(TicketComment.ticket_id, "tickets"),
    TicketComment.kind == CommentKind.QUESTION,
)
NEWEST_QUESTIONS = select(func.max(TicketComment.id)).where(*QUESTION_COMMENTS).group_by(TicketComment.ticket_id)
QUESTIONS = select(TicketComment.ticket_id, func.substr(TicketComment.body, 1, MAX_CHARACTERS)).where(
    TicketComment.id.in_(NEWEST_QUESTIONS)
)


def _load_questions(session: Session, ids: Sequence[int]) -> dict[int, str]:
    if not ids:
        return {}
    return {ticket_id: _shorten(body) for ticket_id, body in fetch_rows(session, QUESTIONS, tickets=ids)}


ANSWERED_TEXT = "Answered. The agent continues as soon as a slot is free"
"""Without an open request, a run that gave its slot back has its answer."""
REQUESTS = (
    select(RunRequest.ticket_id, RunRequest.kind, RunRequest.payload)
    .where(in_ids(RunRequest.run_id, "runs"), RunRequest.state == RequestState.PENDING)
    .order_by(RunRequest.id.desc())
)


def _describe_waiting_run(run: Run) -> str:
    if run.slot_released:
        return ANSWERED_TEXT
    return UNANSWERABLE_TEXT if runtime.is_unanswerable(run) else "The agent is waiting for an answer"


def _load_requests(session: Session, live: dict[int, Run]) -> dict[int, str]:
    """Load the texts of the pending requests of live runs, the oldest of each ticket."""
    if not live:
        return {}
    texts_by_ticket = {
        ticket_id: _describe_waiting_run(run) for ticket_id, run in live.items() if run.state is RunState.WAITING
    }
    rows = fetch_rows(session, REQUESTS, runs=[run.id for run in live.values()])
    return texts_by_ticket | {
        ticket_id: _shorten(_describe_request(kind, payload)) for ticket_id, kind, payload in rows
    }


def _describe_request(kind: str, payload: dict[str, Any]) -> str:
    if kind == "question":
        return payloads.read_questions(payload)[0].text
    if kind == PLAN_REQUEST:
        return PLAN_SUMMARY
    approval = payloads.read(ApprovalPayload, payload)
    return f"Asks to use {approval.tool or 'a tool'}: {approval.title}"


NEWEST_RUNS = select(func.max(Run.id)).where(in_ids(Run.ticket_id, "tickets")).group_by(Run.ticket_id)
SUMMARIES = select(Run.ticket_id, Run.summary).where(Run.id.in_(NEWEST_RUNS))


def _load_summaries(session: Session, ids: Sequence[int]) -> dict[int, str]:
    if not ids:
        return {}
    return {ticket_id: _shorten(summary or "") for ticket_id, summary in fetch_rows(session, SUMMARIES, tickets=ids)}


def _shorten(text: str) -> str:
    return " ".join(text.split())[:MAX_CHARACTERS]
