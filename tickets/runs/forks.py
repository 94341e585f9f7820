"""Tickets that begin with a copy of another ticket's conversation: MC-9 is a fork of MC-3.

The first run of a fork starts with the copy. The original conversation is unchanged and may continue meanwhile.
"""

from __future__ import annotations

from sqlalchemy import Exists, ScalarSelect, exists, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from models import AgentSession, RelationKind, Run, Ticket, TicketRelationship
from protocol import AGENT_PROGRAMS
from tickets.lifecycle import comments

from . import sessions

FORK = TicketRelationship.kind == RelationKind.FORK_OF
FORKABLE_PROGRAMS = frozenset(name for name, program in AGENT_PROGRAMS.items() if program.can_fork)
"""Programs that can begin with a copy."""


def find_conversation_to_copy(
    session: Session, ticket_id: int, program: str, *, has_conversation: bool
) -> AgentSession | None:
    """Find the newest conversation of the source ticket with this program.

    Used for a ticket without conversation, and as a fallback where the program no longer has the ticket's own one.
    """
    query = select(AgentSession).where(
        AgentSession.ticket_id == _select_source(ticket_id),
        AgentSession.program == program,
        AgentSession.config_dir.is_not(None),
        or_(literal(has_conversation), ~_has_conversation(ticket_id)),
    )
    return sessions.find_newest(session, query)


def find_source(session: Session, run: Run) -> Ticket | None:
    """Find the ticket whose conversation was copied for this run."""
    return session.scalar(
        select(Ticket).join(AgentSession, AgentSession.ticket_id == Ticket.id).where(AgentSession.id == run.forks)
    )


def find_speaker(session: Session, ticket: Ticket) -> str | None:
    """Return the agent whose conversation about this ticket can be forked, or None."""
    conversation = session.get(AgentSession, ticket.conversation_id) if ticket.conversation_id else None
    return (
        conversation.agent
        if conversation and conversation.config_dir and conversation.program in FORKABLE_PROGRAMS
        else None
    )


def report_missing_source(session: Session, run: Run) -> None:
    """Add a comment when the first run of a fork begins without the conversation to copy."""
    if run.forks or run.generation > 1:
        return
    if identifier := session.scalar(select(Ticket.identifier).where(Ticket.id == _select_source(run.ticket_id))):
        text = f"No conversation of {identifier} with {run.program} is kept here. This one begins anew."
        comments.write(session, run.ticket_id, text, run_id=run.id)


def is_fork(ticket_id: InstrumentedAttribute[int]) -> Exists:
    """Return the condition that the ticket with this id begins as a fork."""
    return exists().where(TicketRelationship.ticket_id == ticket_id, FORK)


def _select_source(ticket_id: int) -> ScalarSelect[int]:
    return select(TicketRelationship.other_id).where(TicketRelationship.ticket_id == ticket_id, FORK).scalar_subquery()


def _has_conversation(ticket_id: int) -> Exists:
    return exists().where(AgentSession.ticket_id == ticket_id).correlate(None)
