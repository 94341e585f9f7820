"""The head of a ticket: what is next, what the runtime does, and one line that says it all. Each comes from one function."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from models import Run, RunState, Ticket, TicketStatus, now
from tickets.conversation import conversation_lock
from tickets.runs import forks, runtime
from tickets.shared import display_names
from tickets.workflow import landing, wake_conditions

from . import columns

NEXT = {
    TicketStatus.INBOX: "Triage",
    TicketStatus.TODO: "Start",
    TicketStatus.IN_PROGRESS: "Work goes on",
    TicketStatus.NEEDS_INPUT: "Answer",
    TicketStatus.IN_REVIEW: "Review",
    TicketStatus.BLOCKED: "Unblock",
    TicketStatus.DONE: "Closed",
    TicketStatus.CANCELLED: "Closed",
}


@dataclass(frozen=True, slots=True)
class Header:
    """`runtime` is starting, running, waiting, idle, stopping, closed or unknown; `live` while a run holds the ticket;
    `interactive` names who talks with its agent, `speaker` the agent whose conversation can be forked."""

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


def of(session: Session, ticket: Ticket, run: Run | None, last: Run | None) -> Header:
    """`run` holds the ticket, `last` is its newest."""
    state = runtime.state(run)
    owner_kind = columns.owner_kinds(session).get(ticket.assigned_to or "", "person")
    controller = conversation_lock.holding(session, ticket.id)
    return Header(
        ticket.status.value,
        next_action(ticket, run),
        ticket.assigned_to,
        owner_kind,
        state,
        _line(ticket, run or last, state),
        run is not None,
        _working(run, state),
        ticket.created,
        controller.name if controller else None,
        forks.speaker(session, ticket),
    )


def next_action(ticket: Ticket, run: Run | None) -> str:
    if run is not None and run.state is RunState.WAITING:
        return "Answer"
    if (plan := landing.of(ticket)) is not None:
        return "Approve again" if plan.reason else plan.doing[0].upper() + plan.doing[1:]
    if ticket.status is TicketStatus.WAITING:
        return f"Wait {wake_conditions.words(ticket.wake)}"
    return NEXT[ticket.status]


def _working(run: Run | None, state: str) -> str | None:
    if run is None or state not in ("starting", "running", "waiting"):
        return None
    return f"{run.agent} waits for your answer" if state == "waiting" else f"{run.agent} is working…"


def _line(ticket: Ticket, run: Run | None, state: str) -> str:
    said = f"Ticket is {display_names.state(ticket.status)}; runtime is {state}."
    if run is None:
        return f"{said} No run yet."
    reason = f" ({_close_reason(ticket, run)})" if run.ended else ""
    uptime = _span((run.ended or now()) - run.started)
    facts = [
        run.profile or run.agent,
        run.workspace,
        f"{uptime} up",
        f"last activity {_span(now() - (run.ended or runtime.heard(run)))} ago",
    ]
    return f"{said}{reason} · " + " · ".join(fact for fact in facts if fact)


def _close_reason(ticket: Ticket, run: Run) -> str:
    if run.stop_code:
        return f"run_{run.stop_code}"
    if ticket.closed:
        return f"ticket_marked_{ticket.status.value}"
    return f"run_ended_{run.outcome.value if run.outcome else 'unknown'}"


def _span(length: timedelta) -> str:
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
