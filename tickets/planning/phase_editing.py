"""Planning a ticket's phases: begin a workflow, change what has not started, waive a gate, make a decision. For people alone."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from models import PhaseState, Run, Ticket, TicketPhase, TicketStatus
from tickets.conversation import messages
from tickets.lifecycle import editing
from tickets.lifecycle.effects import FRESH_START
from tickets.shared import events, lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import Conflict, Forbidden, Invalid, StaleTicket
from tickets.shared.inputs import Body, Line, Phase, Phases, Words
from tickets.team import agents
from tickets.workflow import ticket_phases

UNBEGUN = frozenset({TicketStatus.INBOX, TicketStatus.TODO})


class Versioned(Body):
    """With a `version` it is refused when the ticket has changed since."""

    version: int | None = Field(None, ge=1)


class Begin(Versioned):
    """The phases that the ticket is to go through, the first of them now."""

    phases: Phases = Field(min_length=1)


class Arrange(Versioned):
    """The phases that are to follow the current one, in their order: they take the place of those that have not started."""

    phases: Phases


class Waive(Versioned):
    """A phase whose gate does not apply, and why."""

    phase: Line
    reason: Words = Field(max_length=2000)


class Decide(Versioned):
    """The choice with which the current phase ends."""

    choice: Line


class NoPlan(Conflict):
    """The phases of this ticket do not allow that."""

    code = "phases_conflict"


def begin(session: Session, ticket: Ticket, body: Begin, actor: Actor) -> Ticket:
    """Give a ticket its phases. Raises `NoPlan` where it has some or is closed, or where somebody else works on it."""
    _permit(ticket, body, actor)
    if ticket_phases.of(session, ticket.id):
        raise NoPlan("It has phases already: change those that have not started.")
    _leave_to_its_worker(session, ticket, body.phases[0])
    values = ticket_phases.install(session, ticket, body.phases)
    session.execute(update(Run).where(Run.ticket_id == ticket.id, Run.phase.is_(None)).values(phase=values["phase"]))
    return _told(session, ticket, values, "ticket_phases_begun", {"phases": _names(body.phases)}, actor)


def _leave_to_its_worker(session: Session, ticket: Ticket, first: Phase) -> None:
    """What is being done becomes the first phase, so nobody else can be given it."""
    owner = agents.resolve(session, first.agent) if first.agent else ticket.assigned_to
    if ticket.status is TicketStatus.IN_PROGRESS and owner != ticket.assigned_to:
        raise NoPlan(
            f"{ticket.assigned_to} works on it: that is phase {first.name}, which {owner} can be given once it is handed back."
        )


def arrange(session: Session, ticket: Ticket, body: Arrange, actor: Actor) -> Ticket:
    """Replace the phases that have not started. Raises `NoPlan` where the ticket has none, `Invalid` for a name in use."""
    _permit(ticket, body, actor)
    phases = ticket_phases.of(session, ticket.id)
    here = _current(phases)
    kept = [phase for phase in phases if phase.state is not PhaseState.PENDING]
    again = [phase for phase in kept if phase.position > here.position and phase.name in _names(body.phases)]
    taken = {phase.name for phase in kept if phase not in again} & set(_names(body.phases))
    if taken:
        raise Invalid(f"the ticket has a phase {sorted(taken)[0]} already", field="phases")
    gone = [phase for phase in phases if phase.state is PhaseState.PENDING or phase in again]
    before, place = [phase.name for phase in gone], 1 + max(phase.position for phase in phases)
    session.execute(delete(TicketPhase).where(TicketPhase.id.in_([phase.id for phase in gone])))
    ticket_phases.lay(session, ticket.id, body.phases, place)
    return _told(
        session, ticket, {}, "ticket_phases_arranged", {"phases": _names(body.phases), "before": before}, actor
    )


def waive(session: Session, ticket: Ticket, body: Waive, actor: Actor) -> Ticket:
    """Let a phase not apply: one that has not started, or the current one while nobody works on it and another follows.

    Raises `Invalid` for an unknown phase, `NoPlan` where it cannot be waived.
    """
    _permit(ticket, body, actor)
    phases = ticket_phases.of(session, ticket.id)
    phase = next((phase for phase in phases if phase.name == body.phase), None)
    if phase is None:
        raise Invalid(f"the ticket has no phase {body.phase}", field="phase", phases=[each.name for each in phases])
    why = unwaivable(session, ticket, phases, phase)
    if why:
        raise NoPlan(why)
    skipped = phase.state is PhaseState.CURRENT
    ticket_phases.leave(session, ticket, phase, PhaseState.WAIVED, body.reason)
    values = {**ticket_phases.enter_next(session, ticket), **FRESH_START} if skipped else {}
    return _told(session, ticket, values, "ticket_phase_waived", {"name": phase.name, "reason": body.reason}, actor)


def unwaivable(session: Session, ticket: Ticket, phases: list[TicketPhase], phase: TicketPhase) -> str | None:
    """Why this phase cannot be waived, or None."""
    if phase.state is PhaseState.PENDING:
        return None
    if phase.state is not PhaseState.CURRENT:
        return f"Phase {phase.name} is over."
    if ticket_phases.following(phases) is None:
        return f"No phase follows {phase.name}: approve or close the ticket instead."
    if ticket.status not in UNBEGUN or lookup.live_run(session, ticket.id) is not None:
        return f"Phase {phase.name} has begun: approve it with a reason instead."
    return None


def decide(session: Session, ticket: Ticket, body: Decide, actor: Actor) -> Run | None:
    """Make the decision of the current phase; a live run is told, and returned, and else the next one begins with it.

    Raises `Invalid` for what is not one of its choices, `NoPlan` for a ticket without phases.
    """
    _permit(ticket, body, actor)
    here = _current(ticket_phases.of(session, ticket.id))
    ticket_phases.decide(session, here, body.choice)
    _told(session, ticket, {}, "ticket_phase_decided", {"name": here.name, "choice": body.choice}, actor)
    live = lookup.live_run(session, ticket.id)
    if live is not None:
        said = messages.NewMessage(body=f"Decision for phase {here.name}: {body.choice}")
        messages.send(session, ticket, said, actor)
    return live


def _permit(ticket: Ticket, body: Versioned, actor: Actor) -> None:
    """A program must not lower the bar it is held to, and what is over is not planned."""
    if not actor.is_human:
        raise Forbidden("Only a person plans the phases of a ticket.")
    if body.version is not None and body.version != ticket.version:
        raise StaleTicket(ticket=ticket.identifier, version=ticket.version)
    if ticket.closed:
        raise NoPlan(f"{ticket.identifier} is closed: reopen it first.")


def _current(phases: list[TicketPhase]) -> TicketPhase:
    here = ticket_phases.current(phases)
    if here is None:
        raise NoPlan("The ticket has no phases yet.")
    return here


def _names(phases: list[Phase]) -> list[str]:
    return [phase.name for phase in phases]


def _told(
    session: Session, ticket: Ticket, values: dict[str, Any], event: str, said: dict[str, Any], actor: Actor
) -> Ticket:
    """Write the ticket against the version that was read, with the event that says what was planned."""
    changed = editing.write(session, ticket, ticket.version, values)
    events.append(session, ticket.id, event, {**said, **ticket_phases.held(changed)}, actor)
    return changed
