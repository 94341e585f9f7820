"""The header of a ticket's page: next action, runtime state, and a status line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from models import Run, RunMode, RunState, Ticket, TicketStatus, now
from tickets.conversation import conversation_lock
from tickets.dispatch import slots
from tickets.loops import triage
from tickets.runs import forks, runtime
from tickets.shared import display_names
from tickets.workflow import attempts, code_reviews, landing, wake_conditions

from . import columns

NEXT_ACTIONS = {
    TicketStatus.INBOX: "Triage",
    TicketStatus.TODO: "Start",
    TicketStatus.IN_PROGRESS: "In progress, nothing for you",
    TicketStatus.NEEDS_INPUT: "Waiting for your answer",
    TicketStatus.IN_REVIEW: "Review",
    TicketStatus.BLOCKED: "Unblock",
    TicketStatus.DONE: "Closed",
    TicketStatus.CANCELLED: "Closed",
}


@dataclass(frozen=True, slots=True)
class Header:
    """The values of a ticket's header.

    `runtime` is starting, running, waiting, idle, stopping, closed or unknown, and `live` is true while a run holds the
    ticket. `interactive` names the controller of the conversation, `speaker` the agent whose conversation can be forked.
    `triage` is the owner that the rules propose, if any, and the reason.
    """

    state: str
    next_action: str
    owner: str | None
    owner_kind: str
    runtime: str
    runtime_line: str
    live: bool
    working: str | None
    age: datetime
    interactive: str | None
    speaker: str | None
    outside: str | None
    is_silent: bool
    triage: tuple[str | None, str] | None


def build_header(session: Session, ticket: Ticket, run: Run | None, last: Run | None) -> Header:
    """Build the header of a ticket from its live run and its newest one (`last`)."""
    state = runtime.get_state(run)
    owner_kind = columns.load_owner_kinds(session).get(ticket.assigned_to or "", "person")
    awaits_slot = bool(run and run.slot_released and slots.find_answer_time(session, run.id))
    controller = conversation_lock.find_controller(session, ticket.id)
    return Header(
        ticket.status.value,
        "Waiting for a free slot"
        if awaits_slot
        else _describe_choice(session, ticket) or describe_next_action(ticket, run) + _describe_last_end(ticket, last),
        ticket.assigned_to,
        owner_kind,
        state,
        _describe_runtime(ticket, run or last, state),
        run is not None,
        "Answered. The agent continues as soon as a slot is free." if awaits_slot else _describe_work(run, state),
        ticket.created,
        controller.name if controller else None,
        forks.find_speaker(session, ticket),
        _describe_outside(run),
        run is not None and runtime.is_silent(run),
        _read_triage(session, ticket),
    )


def _read_triage(session: Session, ticket: Ticket) -> tuple[str | None, str] | None:
    note = triage.find_note(session, ticket)
    return (note.owner, note.reason) if note else None


def _describe_choice(session: Session, ticket: Ticket) -> str:
    """Describe what a person does with the attempts that a parked ticket waits for, or else its review. Empty without any."""
    waits = ticket.status is TicketStatus.WAITING and attempts.find_open_attempts(session, [ticket.id])
    return "Compare its attempts and keep one" if waits else _describe_reviewer(session, ticket)


def _describe_reviewer(session: Session, ticket: Ticket) -> str:
    """Describe who reviews the ticket now, empty while nobody does."""
    is_reviewable = ticket.status in code_reviews.REVIEWED_STATES and not ticket.landing
    reviewers = code_reviews.find_open_reviewers(session, [ticket.id]) if is_reviewable else {}
    return f"Being reviewed by {reviewers[ticket.id]}" if reviewers else ""


def describe_next_action(ticket: Ticket, run: Run | None) -> str:
    if run is not None and runtime.is_silent_outside(run):
        return "Check why it is silent"
    if run is not None and run.state is RunState.WAITING:
        return "Waiting for your answer"
    if (plan := landing.get_plan(ticket)) is not None:
        return "Approve again" if plan.reason else plan.progress_text[0].upper() + plan.progress_text[1:]
    if ticket.status is TicketStatus.WAITING:
        return f"Waiting {wake_conditions.describe_wake(ticket.wake)}"
    return NEXT_ACTIONS[ticket.status]


def _describe_last_end(ticket: Ticket, last: Run | None) -> str:
    """Describe when the run that asked the open question ended, as a second sentence."""
    if ticket.status is not TicketStatus.NEEDS_INPUT or last is None or last.ended is None:
        return ""
    return f". Last run ended {_format_span(now() - last.ended)} ago"


def _describe_work(run: Run | None, state: str) -> str | None:
    if run is None or state not in ("starting", "running", "waiting"):
        return None
    return f"{run.agent} is waiting for your answer" if state == "waiting" else f"{run.agent} is working…"


def _describe_outside(run: Run | None) -> str | None:
    """Describe a run outside Mission Control, and its silence if that is longer than its limit. None for another run."""
    if run is None or run.mode is not RunMode.EXTERNAL:
        return None
    text = f"This work runs outside Mission Control, on {run.host}."
    if not runtime.is_silent(run):
        return text
    limit = _format_span(timedelta(seconds=run.silence_seconds or 0))
    return f"{text} It was last seen {_format_span(now() - runtime.get_last_sign(run))} ago; the limit is {limit}."


def _describe_runtime(ticket: Ticket, run: Run | None, state: str) -> str:
    text = f"Ticket is {display_names.format_status(ticket.status)}; runtime is {state}."
    if run is None:
        return f"{text} No run yet."
    reason = f" ({_describe_end(ticket, run)})" if run.ended else ""
    uptime = _format_span((run.ended or now()) - run.started)
    facts = [
        run.profile or run.agent,
        run.workspace,
        f"{uptime} up",
        f"last activity {_format_span(now() - (run.ended or runtime.get_last_sign(run)))} ago",
    ]
    return f"{text}{reason} · " + " · ".join(fact for fact in facts if fact)


def _describe_end(ticket: Ticket, run: Run) -> str:
    if run.stop_code:
        return f"run_{run.stop_code}"
    if ticket.closed:
        return f"ticket_marked_{ticket.status.value}"
    return f"run_ended_{run.outcome.value if run.outcome else 'unknown'}"


def _format_span(length: timedelta) -> str:
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
