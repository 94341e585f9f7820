"""Phases of a ticket (Dev, Review, QA): who works in each, and what gate stands at its end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import PhaseState, Ticket, TicketPhase, TicketStatus

from . import team
from .errors import Invalid
from .facts import Phase


def install(session: Session, ticket: Ticket, phases: list[Phase]) -> None:
    """Give a new ticket its phases; the first becomes current and lends the ticket its gate and its agent."""
    for position, phase in enumerate(phases):
        agent = team.resolve(session, phase.agent) if phase.agent else None
        state = PhaseState.CURRENT if position == 0 else PhaseState.PENDING
        facts = {"name": phase.name, "gate": phase.gate, "choices": phase.choices, "runbook": phase.runbook}
        session.add(TicketPhase(ticket_id=ticket.id, position=position, agent=agent, state=state, **facts))
    if phases:
        ticket.phase, ticket.gate = phases[0].name, phases[0].gate
        ticket.assigned_to = ticket.assigned_to or phases[0].agent
    session.flush()


def of(session: Session, ticket_id: int) -> list[TicketPhase]:
    return list(
        session.scalars(select(TicketPhase).where(TicketPhase.ticket_id == ticket_id).order_by(TicketPhase.position))
    )


def awaits_decision(session: Session, ticket_id: int) -> bool:
    """Whether the current phase ends with a choice, which somebody has to make."""
    current = (TicketPhase.ticket_id == ticket_id, TicketPhase.state == PhaseState.CURRENT)
    return any(session.scalars(select(TicketPhase.choices).where(*current)))


def advance(session: Session, ticket: Ticket, choice: str | None = None) -> dict[str, Any]:
    """Pass the current phase; the values that bring the ticket to its next phase, or to done after the last."""
    phases = of(session, ticket.id)
    current = next((phase for phase in phases if phase.state is PhaseState.CURRENT), None)
    if current is not None:
        _pass(session, current, choice)
    following = next((phase for phase in phases if phase.state is PhaseState.PENDING), None)
    if following is None:
        return {"status": TicketStatus.DONE}
    session.execute(update(TicketPhase).where(TicketPhase.id == following.id).values(state=PhaseState.CURRENT))
    owner = following.agent or ticket.assigned_to
    return {"status": TicketStatus.TODO, "phase": following.name, "gate": following.gate, "assigned_to": owner}


def _pass(session: Session, phase: TicketPhase, choice: str | None) -> None:
    if phase.choices and choice not in phase.choices:
        raise Invalid(f"phase {phase.name} ends with a decision", field="choice", choices=phase.choices)
    session.execute(update(TicketPhase).where(TicketPhase.id == phase.id).values(state=PhaseState.PASSED, note=choice))
