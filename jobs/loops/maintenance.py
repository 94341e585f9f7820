"""The repairs of the task `operator` where the setting `operator.maintenance` allows them: tickets whose run is lost."""

from __future__ import annotations

from sqlalchemy.orm import Session

from database import reading, writing
from jobs.job_context import JobContext
from models import Ticket, format_timestamp, now
from tickets.board import ticket_conditions
from tickets.lifecycle import comments, transitions
from tickets.lifecycle.moves import Role
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError

REASON = "it was in progress without a run"


def release_tickets(context: JobContext, actor: Actor) -> list[str]:
    """Return the tickets in progress without a run to To do, each with a comment, and list their identifiers.

    The role is granted here alone, as the actor itself has none.
    """
    with reading(context.engine) as session:
        tickets = ticket_conditions.list_stuck(session, context.settings, ("adrift",))
    return [ticket.identifier for ticket in tickets if _release(context, ticket, actor)]


def _release(context: JobContext, ticket: Ticket, actor: Actor) -> bool:
    """Release one ticket. False when it has changed meanwhile."""
    try:
        with writing(context.engine) as session:
            transitions.transition(
                session, ticket.id, "release", actor, version=ticket.version, role=Role.SYSTEM, note=REASON
            )
            _explain(session, ticket, actor)
    except DomainError:
        return False
    return True


def _explain(session: Session, ticket: Ticket, actor: Actor) -> None:
    lines = (
        f"[operator maintenance · {format_timestamp(now())}]",
        "- Before: In progress, without a run",
        "- After: To do",
        f"- Reason: {REASON}, and `operator.maintenance` is set",
    )
    comments.write(session, ticket.id, "\n".join(lines), actor)
