"""Tasks with a ticket: each slot creates one, unless the last one is still open or the board is paused."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from models import ActorKind, MissReason, TaskOutcome
from tickets.lifecycle import transitions
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError
from tickets.shared.inputs import NewTicket

from . import ledger
from .cron import Task


@dataclass(frozen=True, slots=True)
class TicketResult:
    """The outcome of a slot, the ticket that it created or waited for, and in words why none was created."""

    outcome: TaskOutcome
    ticket: str | None = None
    reason: MissReason | None = None
    problem: str | None = None


def create_ticket(session: Session, task: Task, slot_id: int) -> TicketResult:
    """Create the ticket of a slot and record it there, in the one transaction of the caller.

    A ticket that cannot be created, such as one for an agent that is gone, is a failure that names the problem.
    """
    if (open_ticket := ledger.find_open_ticket(session, task.name)) is not None:
        ledger.set_ticket(session, slot_id, open_ticket.id)
        problem = f"{open_ticket.identifier}, which this task created before, is still open"
        return TicketResult(TaskOutcome.SKIPPED, open_ticket.identifier, MissReason.STILL_RUNNING, problem)
    if (pause := runtime_flags.get_pause_reason(session)) is not None:
        return TicketResult(TaskOutcome.SKIPPED, None, MissReason.PAUSED, f"the board is paused: {pause}")
    try:
        with session.begin_nested():
            ticket = transitions.create_ticket(session, build_ticket(task), Actor(ActorKind.SERVICE, task.name))
    except DomainError as refusal:
        return TicketResult(TaskOutcome.FAILED, problem=refusal.message)
    ledger.set_ticket(session, slot_id, ticket.id)
    return TicketResult(TaskOutcome.ACTED, ticket.identifier)


def build_ticket(task: Task) -> NewTicket:
    """Build the ticket that a task creates."""
    assert task.head.ticket is not None
    template = task.head.ticket.model_dump() | {"description": task.prompt}
    template["acceptance"] = [{"text": text} for text in template["acceptance"]]
    return NewTicket.model_validate(template)
