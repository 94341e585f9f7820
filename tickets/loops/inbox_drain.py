"""The inbox's own ticket, through which the orchestrator works the inbox: when it is opened, and what keeps it closed.

One ticket serves all items. It is reopened while some wait, goes on in the same conversation, and is done when the inbox is
empty. Its runs are dispatched like those of other tickets: nothing here starts one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from sqlalchemy import false, select, true, update
from sqlalchemy.orm import Session

from models import (
    Agent,
    AgentKind,
    Gate,
    Incident,
    IncidentState,
    Profile,
    Run,
    TaskOutcome,
    Ticket,
    TicketStatus,
    format_clock,
    now,
)
from tickets.dispatch import policy
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import transitions
from tickets.lifecycle.moves import Role
from tickets.operations import inbox_items, incidents
from tickets.runs.retry_policy import compute_backoff
from tickets.shared import display_names, events, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket

DRAIN = Actor.system("inbox-drain")
STALLED = "inbox-drain:stalled"
"""Fingerprint of the incident that the orchestrator does not get on with the inbox."""
BACKOFF_SECONDS = 600.0
"""Wait after a run that has settled nothing, doubled for each further one."""
MAX_IDLE_RUNS = 3
"""Runs in a row without a settled item after which none is started until a person has closed the incident."""
TITLE = "Work the inbox"
DESCRIPTION = (
    "Mission Control reopens this ticket while items wait in the inbox, and its agent goes on in the same conversation."
    " It is done when the inbox is empty. Cancel it to have people work the inbox alone."
)
NO_ORCHESTRATOR = (
    "no agent of kind controller can work the inbox: one must be runnable and have a profile that does not plan first"
)


@dataclass(frozen=True, slots=True)
class DrainDecision:
    """The decision of one pass: acted when the ticket is to be opened for `agent`, else the reason why it is not.

    Where people have decided to work the inbox themselves, that is nothing to do: a pass that is skipped for hours becomes
    an incident with an item, which would keep the passes skipping.
    """

    outcome: TaskOutcome
    waiting: int
    reason: str = ""
    agent: str | None = None
    ticket: Ticket | None = None


def decide_drain(session: Session, limits: DispatchLimits) -> DrainDecision:
    """Decide whether the inbox's ticket is to be opened now."""
    ticket_id = runtime_flags.get_inbox_ticket(session)
    waiting = inbox_items.count_pending(session, without_ticket=ticket_id)
    if not waiting:
        return DrainDecision(TaskOutcome.NOOP, 0)
    if pause := runtime_flags.get_pause_reason(session):
        return DrainDecision(TaskOutcome.SKIPPED, waiting, f"dispatch is paused: {pause}")
    agent = find_orchestrator(session)
    if agent is None:
        outcome = TaskOutcome.SKIPPED if _has_controller(session) else TaskOutcome.NOOP
        return DrainDecision(outcome, waiting, NO_ORCHESTRATOR)
    ticket = session.get(Ticket, ticket_id) if ticket_id else None
    if ticket is None:
        return DrainDecision(TaskOutcome.ACTED, waiting, agent=agent)
    outcome, reason = _judge_ticket(session, ticket, limits)
    return DrainDecision(outcome, waiting, f"{ticket.identifier} {reason}" if reason else "", agent, ticket)


def find_orchestrator(session: Session) -> str | None:
    """Find the agent that works the inbox: the first of kind controller that can be started and does not plan first."""
    query = select(Agent.name).join(Profile, Profile.name == Agent.profile)
    can_work = (Agent.kind == AgentKind.CONTROLLER, Agent.runnable == true(), Profile.plan_first == false())
    return session.scalar(query.where(*can_work).order_by(Agent.name).limit(1))


def _has_controller(session: Session) -> bool:
    """Return whether the team has an agent for the inbox at all. Without one, people work it."""
    query = select(Agent.name).where(Agent.kind == AgentKind.CONTROLLER).limit(1)
    return session.scalar(query) is not None


Judgement = tuple[TaskOutcome, str]


def _judge_ticket(session: Session, ticket: Ticket, limits: DispatchLimits) -> Judgement:
    match ticket.status:
        case TicketStatus.DONE:
            return _judge_runs(session, ticket)
        case TicketStatus.IN_PROGRESS:
            return TaskOutcome.NOOP, "is at work"
        case TicketStatus.TODO:
            gates = policy.check_ticket(session, ticket, None, limits)
            closed_gate = next((gate for gate in gates if not gate.ok), None)
            return TaskOutcome.SKIPPED, f"is ready to start. {closed_gate.detail if closed_gate else ''}".strip()
        case TicketStatus.BLOCKED:
            return TaskOutcome.WARNING, f"is blocked. {(ticket.block or {}).get('next_action', '')}".strip()
        case TicketStatus.CANCELLED:
            return TaskOutcome.NOOP, "was cancelled: reopen it to have the inbox worked"
        case status:
            return TaskOutcome.SKIPPED, f"has the state {display_names.format_status_label(status)}: it needs a person"


def _judge_runs(session: Session, ticket: Ticket) -> Judgement:
    """Judge by the last runs, so that an orchestrator that settles nothing is not started again and again."""
    idle_runs = _list_idle_runs(session, ticket.id)
    ended = idle_runs[0].ended if idle_runs else None
    if ended is None or _is_retry_ordered(session, ended):
        return TaskOutcome.ACTED, ""
    if len(idle_runs) >= MAX_IDLE_RUNS:
        text = (
            f"has settled nothing in {len(idle_runs)} runs in a row. Read them, then close the incident to try again."
        )
        return TaskOutcome.WARNING, text
    retry_at = ended + compute_backoff(BACKOFF_SECONDS, len(idle_runs))
    if now() < retry_at:
        return (
            TaskOutcome.SKIPPED,
            f"has settled nothing in its last run. It is tried again at {format_clock(retry_at)}",
        )
    return TaskOutcome.ACTED, ""


def _list_idle_runs(session: Session, ticket_id: int) -> list[Run]:
    """List the newest runs that settled no item, up to the first one that did, the newest first."""
    query = select(Run).where(Run.ticket_id == ticket_id).order_by(Run.generation.desc()).limit(MAX_IDLE_RUNS)
    return list(takewhile(lambda run: not count_settled(session, run.id), session.scalars(query).all()))


def count_settled(session: Session, run_id: int) -> int:
    """Count the inbox items that a run has settled."""
    return sum(events.count_events(session, run_id, kind) for kind in ("inbox_acted", "inbox_failed"))


def _is_retry_ordered(session: Session, last_end: datetime) -> bool:
    """Return whether a person has closed the incident since the last run, to have it tried again."""
    incident = _find_incident(session)
    return incident is not None and incident.state is IncidentState.CLOSED and incident.last_seen > last_end


def apply_decision(session: Session, decision: DrainDecision) -> Ticket | None:
    """Open or reopen the ticket where this is decided, open or close the incident, and return the opened ticket."""
    _track_incident(session, decision)
    if decision.outcome is not TaskOutcome.ACTED or decision.agent is None:
        return None
    if decision.ticket is None:
        return _create_ticket(session, decision.agent)
    note = f"Items in the inbox: {decision.waiting}."
    ticket = transitions.transition(
        session,
        decision.ticket.id,
        "reopen",
        DRAIN,
        role=Role.HUMAN,
        to="todo",
        note=note,
        assigned_to=decision.agent,
    )
    session.execute(update(Ticket).where(Ticket.id == ticket.id).values(resume=True))
    return ticket


def _create_ticket(session: Session, agent: str) -> Ticket:
    body = NewTicket(title=TITLE, description=DESCRIPTION, assigned_to=agent, gate=Gate.NONE)
    ticket = transitions.create_ticket(session, body, DRAIN)
    runtime_flags.set_flag(session, runtime_flags.INBOX_TICKET, str(ticket.id), DRAIN)
    return ticket


def _find_incident(session: Session) -> Incident | None:
    return session.scalar(select(Incident).where(Incident.fingerprint == STALLED))


def changes_something(session: Session, decision: DrainDecision) -> bool:
    """Return whether a decision opens the ticket, or opens or closes the incident."""
    incident = _find_incident(session)
    is_open = incident is not None and incident.state is not IncidentState.CLOSED
    is_stalled = decision.outcome is TaskOutcome.WARNING
    return decision.outcome is TaskOutcome.ACTED or (not decision.waiting if is_open else is_stalled)


def _track_incident(session: Session, decision: DrainDecision) -> None:
    """Open the incident when the orchestrator is stuck, and close it when nothing waits any more."""
    incident = _find_incident(session)
    if incident is not None and incident.state is not IncidentState.CLOSED:
        if not decision.waiting:
            incidents.close_incident(session, incident.id, "Nothing waits in the inbox.", DRAIN)
    elif decision.outcome is TaskOutcome.WARNING:
        title = "The orchestrator does not get on with the inbox"
        ticket_id = decision.ticket.id if decision.ticket else None
        incidents.raise_incident(session, STALLED, title, decision.reason, ticket_id=ticket_id, actor=DRAIN)
