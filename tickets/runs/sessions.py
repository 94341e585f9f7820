"""Conversations of agent programs: their ticket and location, so that a later run can resume them."""

from __future__ import annotations

import re

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import AgentSession, Run, Ticket, now

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""Allowed conversation names: they are used in command lines and paths, so one must not be an option or leave its folder."""


def record_conversation(session: Session, run: Run, conversation_id: str) -> None:
    """Record the conversation that the program itself has reported, if its name is valid. Only such ones can be resumed."""
    if not NAME_PATTERN.fullmatch(conversation_id):
        return
    facts = {"ticket_id": run.ticket_id, "program": run.program or "unknown", "agent": run.agent}
    places = {"config_dir": run.config_dir, "cwd": run.workspace}
    session.execute(insert_or_ignore(session, AgentSession).values(id=conversation_id, **facts, **places))
    session.execute(update(AgentSession).where(AgentSession.id == conversation_id).values(last_seen=now()))
    session.execute(update(Run).where(Run.id == run.id).values(conversation_id=conversation_id))
    session.execute(update(Ticket).where(Ticket.id == run.ticket_id).values(conversation_id=conversation_id))


def find_resumable(session: Session, ticket_id: int, agent: str, program: str) -> AgentSession | None:
    """Find the newest conversation of this agent about this ticket with this program."""
    query = select(AgentSession).where(
        AgentSession.ticket_id == ticket_id,
        AgentSession.agent == agent,
        AgentSession.program == program,
        AgentSession.config_dir.is_not(None),
    )
    return find_newest(session, query)


def find_newest(session: Session, query: Select[AgentSession]) -> AgentSession | None:
    """Return the most recently seen conversation, unless its name was stored before names were validated and is invalid."""
    conversation = session.scalar(query.order_by(AgentSession.last_seen.desc(), AgentSession.id).limit(1))
    return conversation if conversation and NAME_PATTERN.fullmatch(conversation.id) else None


def abandon_conversation(session: Session, ticket_id: int) -> None:
    """Make the ticket's conversation unavailable, so that the next run begins a new one."""
    session.execute(update(AgentSession).where(AgentSession.ticket_id == ticket_id).values(config_dir=None))
