"""View of a ticket's phases for people and programs: how each ends, what the current one waits for, possible actions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.orm import Session

from models import Gate, Run, Ticket, TicketPhase, TicketStatus
from tickets.workflow import landing, ticket_phases, wake_conditions

from . import phase_editing

END_LABELS = {
    Gate.PERSON: "A person approves",
    Gate.REVIEWER: "A reviewer approves",
    Gate.CHECKS: "The checks pass",
    Gate.NONE: "The agent reports it is done",
}


@dataclass(frozen=True, slots=True)
class PhaseView:
    """One phase. `ends` describes how it ends, `decided` is the choice made, `note` the reason for a waiver."""

    name: str
    state: str
    agent: str | None
    gate: str
    ends: str
    choices: list[str]
    decided: str | None
    note: str | None
    runbook: str | None
    waivable: bool


@dataclass(frozen=True, slots=True)
class Workflow:
    """All phases of a ticket. `decides_by` is the move that makes a choice now, or `decide` when no move follows."""

    phases: list[PhaseView]
    current: PhaseView | None
    waits_for: str | None
    decides_by: str | None


def build_workflow(session: Session, ticket: Ticket, live: Run | None, moves: Collection[str]) -> Workflow:
    """Build the view of a ticket's phases, where `moves` are those that the viewer may make."""
    phases = ticket_phases.list_phases(session, ticket.id)
    here = None if ticket.closed else ticket_phases.find_current(phases)
    reviewer = ticket_phases.find_reviewer(session, ticket, ticket.assigned_to or "") if here else None
    views = [_build_phase(session, ticket, phases, phase, reviewer if phase is here else None) for phase in phases]
    current = next((view for view, phase in zip(views, phases, strict=True) if phase is here), None)
    waits = _describe_wait(ticket, here, live) if here else None
    return Workflow(views, current, waits, _choose_decision_move(ticket, here, moves))


def _build_phase(
    session: Session, ticket: Ticket, phases: list[TicketPhase], phase: TicketPhase, reviewer: str | None
) -> PhaseView:
    here = phase is ticket_phases.find_current(phases)
    decision = phase.note if phase.note in phase.choices else None
    return PhaseView(
        name=phase.name,
        state=phase.state.value,
        agent=ticket.assigned_to if here and not ticket.closed else phase.agent,
        gate=phase.gate.value,
        ends=_describe_end(phase, reviewer),
        choices=phase.choices,
        decided=decision,
        note=phase.note if not decision else None,
        runbook=phase.runbook,
        waivable=not ticket.closed and phase_editing.explain_unwaivable(session, ticket, phases, phase) is None,
    )


def _describe_end(phase: TicketPhase, reviewer: str | None) -> str:
    if phase.choices:
        return f"A decision: {' or '.join(phase.choices)}"
    if phase.gate is Gate.REVIEWER and reviewer:
        return f"{reviewer} reviews it"
    return END_LABELS[phase.gate]


def _describe_wait(ticket: Ticket, here: TicketPhase, live: Run | None) -> str:
    """Describe in a sentence what the phase waits for."""
    owner = ticket.assigned_to or "somebody"
    if live is not None and ticket.status is TicketStatus.IN_PROGRESS:
        return f"{live.agent} is working."
    return {
        TicketStatus.INBOX: "Waiting for triage.",
        TicketStatus.TODO: f"Waiting for {owner} to start.",
        TicketStatus.IN_PROGRESS: f"{owner} is working.",
        TicketStatus.NEEDS_INPUT: "Waiting for an answer.",
        TicketStatus.IN_REVIEW: landing.describe_landing(ticket) or _describe_review(here),
        TicketStatus.WAITING: f"Parked {wake_conditions.describe_wake(ticket.wake)}.",
        TicketStatus.BLOCKED: "Blocked.",
    }[ticket.status]


def _describe_review(here: TicketPhase) -> str:
    if ticket_phases.is_undecided(here):
        return "Waiting for a decision."
    if here.gate is Gate.REVIEWER:
        return "Waiting for a reviewer who did not do the work."
    return "Waiting for a person to approve."


def _choose_decision_move(ticket: Ticket, here: TicketPhase | None, moves: Collection[str]) -> str | None:
    if here is None or not here.choices:
        return None
    move = {TicketStatus.IN_REVIEW: "approve", TicketStatus.IN_PROGRESS: "finish"}.get(ticket.status)
    return move if move in moves else "decide"
