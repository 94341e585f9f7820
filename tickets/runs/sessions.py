"""Conversations of agents' programs: which ticket each belongs to and where it is kept, so that a later run can resume it."""

from __future__ import annotations

import re

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import AgentSession, Run, Ticket, now

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""A conversation's name reaches a command line and a path; an agent could give one that is an option or leads elsewhere."""


def record_conversation(session: Session, run: Run, conversation_id: str) -> None:
    """The program itself has named its conversation: only such a one can be resumed, and only by a plain name."""
    if not NAME_PATTERN.fullmatch(conversation_id):
        return
    facts = {"ticket_id": run.ticket_id, "program": run.program or "unknown", "agent": run.agent}
    places = {"config_dir": run.config_dir, "cwd": run.workspace}
    session.execute(insert_or_ignore(session, AgentSession).values(id=conversation_id, **facts, **places))
    session.execute(update(AgentSession).where(AgentSession.id == conversation_id).values(last_seen=now()))
    session.execute(update(Run).where(Run.id == run.id).values(conversation_id=conversation_id))
    session.execute(update(Ticket).where(Ticket.id == run.ticket_id).values(conversation_id=conversation_id))


def find_resumable(session: Session, ticket_id: int, agent: str, program: str) -> AgentSession | None:
    """The conversation that this agent last held about this ticket with this program."""
    query = select(AgentSession).where(
        AgentSession.ticket_id == ticket_id,
        AgentSession.agent == agent,
        AgentSession.program == program,
        AgentSession.config_dir.is_not(None),
    )
    return find_newest(session, query)


def find_newest(session: Session, query: Select[AgentSession]) -> AgentSession | None:
    """The conversation heard of last; none by a name that was taken up before names were looked at."""
    conversation = session.scalar(query.order_by(AgentSession.last_seen.desc(), AgentSession.id).limit(1))
    return conversation if conversation and NAME_PATTERN.fullmatch(conversation.id) else None


def abandon_conversation(session: Session, ticket_id: int) -> None:
    """The ticket's conversation cannot go on: the next run begins another, whoever lets it start."""
    session.execute(update(AgentSession).where(AgentSession.ticket_id == ticket_id).values(config_dir=None))
