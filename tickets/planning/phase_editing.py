"""Planning of a ticket's phases by people: begin a workflow, change unstarted phases, waive a gate, make a decision."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from models import PhaseState, Run, Ticket, TicketPhase, TicketStatus
from tickets.conversation import messages
from tickets.lifecycle import editing
from tickets.lifecycle.effects import RETRIES_RESET
from tickets.shared import events, lookup, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, StaleTicket
from tickets.shared.inputs import Body, Line, Phase, Phases, Words
from tickets.shared.rights import Act
from tickets.team import agents
from tickets.workflow import ticket_phases

UNSTARTED_STATES = frozenset({TicketStatus.INBOX, TicketStatus.TODO})


class Versioned(Body):
    """Base of a planned change, refused when `version` is sent and the ticket has changed since."""

    version: int | None = Field(None, ge=1)


class BeginWorkflow(Versioned):
    """The phases that the ticket goes through, starting with the first."""

    phases: Phases = Field(min_length=1)


class ArrangePhases(Versioned):
    """The phases that follow the current one, in order, replacing those that have not started."""

    phases: Phases


class WaivePhase(Versioned):
    """A phase whose gate does not apply, and the reason."""

    phase: Line
    reason: Annotated[Words, Field(max_length=2000)]


class DecidePhase(Versioned):
    """The choice that ends the current phase."""

    choice: Line


class PhasesConflict(ConflictError):
    """The phases of this ticket do not allow this change."""

    code = "phases_conflict"


def begin_workflow(session: Session, ticket: Ticket, body: BeginWorkflow, actor: Actor) -> Ticket:
    """Add phases to a ticket. Raises `PhasesConflict` when it has phases, is closed, or is worked on by another agent."""
    _require_permitted(ticket, body, actor)
    if ticket_phases.list_phases(session, ticket.id):
        raise PhasesConflict("The ticket already has phases. Change those that have not started.")
    _require_current_worker(session, ticket, body.phases[0])
    values = ticket_phases.install_phases(session, ticket, body.phases)
    session.execute(update(Run).where(Run.ticket_id == ticket.id, Run.phase.is_(None)).values(phase=values["phase"]))
    return _save_plan(session, ticket, values, "ticket_phases_begun", {"phases": _list_names(body.phases)}, actor)


def _require_current_worker(session: Session, ticket: Ticket, first: Phase) -> None:
    """Require that the first phase belongs to the ticket's owner while the ticket is in progress."""
    owner = agents.resolve_name(session, first.agent) if first.agent else ticket.assigned_to
    if ticket.status is TicketStatus.IN_PROGRESS and owner != ticket.assigned_to:
        raise PhasesConflict(
            f"{ticket.assigned_to} works on the ticket, as phase {first.name}. Hand it back before {owner} gets that phase."
        )


def arrange_phases(session: Session, ticket: Ticket, body: ArrangePhases, actor: Actor) -> Ticket:
    """Replace the phases that have not started.

    Raises `PhasesConflict` when the ticket has none, `Invalid` for a name in use.
    """
    _require_permitted(ticket, body, actor)
    phases = ticket_phases.list_phases(session, ticket.id)
    here = _require_current(phases)
    started_phases = [phase for phase in phases if phase.state is not PhaseState.PENDING]
    returned_phases = [
        phase for phase in started_phases if phase.position > here.position and phase.name in _list_names(body.phases)
    ]
    used_names = {phase.name for phase in started_phases if phase not in returned_phases} & set(
        _list_names(body.phases)
    )
    if used_names:
        raise Invalid(f"The ticket already has a phase named {sorted(used_names)[0]}.", field="phases")
    obsolete = [phase for phase in phases if phase.state is PhaseState.PENDING or phase in returned_phases]
    before, place = [phase.name for phase in obsolete], 1 + max(phase.position for phase in phases)
    session.execute(delete(TicketPhase).where(TicketPhase.id.in_([phase.id for phase in obsolete])))
    ticket_phases.add_phases(session, ticket.id, body.phases, place)
    return _save_plan(
        session, ticket, {}, "ticket_phases_arranged", {"phases": _list_names(body.phases), "before": before}, actor
    )


def waive_phase(session: Session, ticket: Ticket, body: WaivePhase, actor: Actor) -> Ticket:
    """Waive a phase that has not started, or the current one while nobody works on it and another follows.

    Raises `Invalid` for an unknown phase, `PhasesConflict` when it cannot be waived.
    """
    _require_permitted(ticket, body, actor)
    phases = ticket_phases.list_phases(session, ticket.id)
    phase = next((phase for phase in phases if phase.name == body.phase), None)
    if phase is None:
        raise Invalid(
            f"The ticket has no phase named {body.phase}.", field="phase", phases=[other.name for other in phases]
        )
    why = explain_unwaivable(session, ticket, phases, phase)
    if why:
        raise PhasesConflict(why)
    skipped = phase.state is PhaseState.CURRENT
    ticket_phases.close_phase(session, ticket, phase, PhaseState.WAIVED, body.reason)
    values = {**ticket_phases.enter_next(session, ticket), **RETRIES_RESET} if skipped else {}
    return _save_plan(
        session, ticket, values, "ticket_phase_waived", {"name": phase.name, "reason": body.reason}, actor
    )


def explain_unwaivable(session: Session, ticket: Ticket, phases: list[TicketPhase], phase: TicketPhase) -> str | None:
    """Return the reason why this phase cannot be waived, or None."""
    if phase.state is PhaseState.PENDING:
        return None
    if phase.state is not PhaseState.CURRENT:
        return f"Phase {phase.name} is over."
    if ticket_phases.find_next(phases) is None:
        return f"No phase follows {phase.name}: approve or close the ticket instead."
    if ticket.status not in UNSTARTED_STATES or lookup.find_live_run(session, ticket.id) is not None:
        return f"Phase {phase.name} has begun: approve it with a reason instead."
    return None


def decide_phase(session: Session, ticket: Ticket, body: DecidePhase, actor: Actor) -> Run | None:
    """Record the decision of the current phase, queue a message to the live run, if any, and return that run.

    Raises `Invalid` for an unknown choice, `PhasesConflict` for a ticket without phases.
    """
    _require_permitted(ticket, body, actor)
    here = _require_current(ticket_phases.list_phases(session, ticket.id))
    ticket_phases.decide(session, here, body.choice)
    _save_plan(session, ticket, {}, "ticket_phase_decided", {"name": here.name, "choice": body.choice}, actor)
    live = lookup.find_live_run(session, ticket.id)
    if live is not None:
        message = messages.NewMessage(body=f"Decision for phase {here.name}: {body.choice}")
        messages.queue_message(session, ticket, message, actor)
    return live


def _require_permitted(ticket: Ticket, body: Versioned, actor: Actor) -> None:
    """Raise an error unless a person plans an open ticket: a program must not lower the conditions that apply to it."""
    rights.require(actor, Act.PLAN_PHASES)
    if body.version is not None and body.version != ticket.version:
        raise StaleTicket(ticket=ticket.identifier, version=ticket.version)
    if ticket.closed:
        raise PhasesConflict(f"{ticket.identifier} is closed. Reopen it first.")


def _require_current(phases: list[TicketPhase]) -> TicketPhase:
    here = ticket_phases.find_current(phases)
    if here is None:
        raise PhasesConflict("The ticket has no phases yet.")
    return here


def _list_names(phases: list[Phase]) -> list[str]:
    return [phase.name for phase in phases]


def _save_plan(
    session: Session, ticket: Ticket, values: dict[str, Any], event: str, payload: dict[str, Any], actor: Actor
) -> Ticket:
    """Update the ticket against the version that was read, and append the event of the plan."""
    updated = editing.update_ticket(session, ticket, ticket.version, values)
    events.append(session, ticket.id, event, {**payload, **ticket_phases.build_holder_payload(updated)}, actor)
    return updated
