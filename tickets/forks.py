"""Tickets that begin with a copy of another one's conversation: MC-9 is a fork of MC-3.

Their first run is given the copy; the conversation of the other ticket stays as it is, and may go on meanwhile.
"""

from __future__ import annotations

from sqlalchemy import Exists, ScalarSelect, exists, select
from sqlalchemy.orm import Session

from models import AgentSession, RelationKind, Run, Ticket, TicketRelationship

from . import comments

FORKING = frozenset({"claude", "codex"})
"""Programs that can begin with a copy."""


def to_copy(session: Session, ticket_id: int, program: str) -> AgentSession | None:
    """What the ticket that this one is a fork of last said with this program, as long as this one has said nothing."""
    query = select(AgentSession).where(
        AgentSession.ticket_id == _source(ticket_id),
        AgentSession.program == program,
        AgentSession.config_dir.is_not(None),
        ~_has_spoken(ticket_id),
    )
    return session.scalar(query.order_by(AgentSession.last_seen.desc(), AgentSession.id).limit(1))


def source(session: Session, ticket_id: int) -> Ticket | None:
    """The ticket that this one is a fork of."""
    return session.scalar(select(Ticket).where(Ticket.id == _source(ticket_id)))


def tell_missed(session: Session, run: Run) -> None:
    """Say on the ticket that a run begins without the conversation that it should have been given."""
    if run.forks or run.resumes:
        return
    missed = select(Ticket.identifier).where(Ticket.id == _source(run.ticket_id), ~_has_spoken(run.ticket_id))
    if identifier := session.scalar(missed):
        said = f"No conversation of {identifier} with {run.program} is kept here. This one begins anew."
        comments.write(session, run.ticket_id, said, run_id=run.id)


def _source(ticket_id: int) -> ScalarSelect[int]:
    fork = TicketRelationship.kind == RelationKind.FORK_OF
    return select(TicketRelationship.other_id).where(TicketRelationship.ticket_id == ticket_id, fork).scalar_subquery()


def _has_spoken(ticket_id: int) -> Exists:
    return exists().where(AgentSession.ticket_id == ticket_id).correlate(None)
