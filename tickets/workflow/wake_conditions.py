"""The one wake model for parked tickets: a time, another ticket, an answer, a probe, a usage reset, an idle agent."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, cast, func, or_, select
from sqlalchemy.orm import Session

from models import (
    TERMINAL,
    ActorKind,
    Run,
    Ticket,
    TicketComment,
    TicketEvent,
    TicketStatus,
    WakeKind,
    format_clock,
    now,
)
from tickets.shared.inputs import Wake
from tickets.shared.lookup import get
from tickets.team import agents

CLOCKED = {WakeKind.TIME, WakeKind.USAGE_RESET}


def columns(session: Session, wake: Wake) -> dict[str, Any]:
    """The ticket columns that hold a wake condition; the parts that are searched for have columns of their own.

    Raises `NoSuchTicket`, and `Invalid` for an agent that is not on the team: it would be found idle at once.
    """
    awaited = get(session, wake.ticket).id if wake.ticket else None
    said = wake.model_dump(mode="json", exclude_none=True)
    if wake.agent:
        said["agent"] = agents.resolve(session, wake.agent)
    return {"wake": said, "wake_at": wake.at if wake.kind in CLOCKED else None, "wake_ticket_id": awaited}


def due(session: Session, moment: datetime | None = None, limit: int = 200) -> list[Ticket]:
    """Parked tickets whose clock has passed or whose awaited ticket has ended; both through an index."""
    ended = select(Ticket.id).where(Ticket.status.in_(TERMINAL))
    query = select(Ticket).where(
        Ticket.status == TicketStatus.WAITING,
        or_(Ticket.wake_at <= (moment or now()), Ticket.wake_ticket_id.in_(ended)),
    )
    return list(session.scalars(query.order_by(Ticket.id).limit(limit)))


def probing(session: Session, limit: int = 16) -> list[Ticket]:
    """Parked tickets that wait for a command to succeed, which the door runs outside any transaction.

    Where there are more, each has its chance: commands that never succeed do not keep the others waiting for ever.
    """
    waiting = _waiting_for(session, WakeKind.PROBE)
    return random.sample(waiting, min(limit, len(waiting)))


def resting(session: Session, moment: datetime | None = None) -> list[Ticket]:
    """Parked tickets that wait for an agent which has had no run for as many minutes as they ask for."""
    moment = moment or now()
    waiting = _waiting_for(session, WakeKind.AGENT_IDLE)
    return [ticket for ticket in waiting if _rests(session, ticket.wake, moment)]


def answered(session: Session) -> list[Ticket]:
    """Parked tickets that wait for words of a person, which have come since they were parked."""
    waiting = _waiting_for(session, WakeKind.ANSWER)
    return [ticket for ticket in waiting if _has_words(session, ticket.id)]


def _waiting_for(session: Session, kind: WakeKind) -> list[Ticket]:
    """SQL leaves out those whose condition does not even hold the word: most are parked until somebody wakes them."""
    parked = (Ticket.status == TicketStatus.WAITING, Ticket.wake_at.is_(None), Ticket.wake_ticket_id.is_(None))
    told = cast(Ticket.wake, Text).contains(f'"{kind.value}"', autoescape=True)
    found = session.scalars(select(Ticket).where(*parked, told).order_by(Ticket.id))
    return [ticket for ticket in found if (ticket.wake or {}).get("kind") == kind]


def _rests(session: Session, wake: dict[str, Any] | None, moment: datetime) -> bool:
    asked = wake or {}
    busy = or_(Run.ended.is_(None), Run.ended > moment - timedelta(minutes=int(asked["minutes"])))
    return session.scalar(select(Run.id).where(Run.agent == asked["agent"], busy).limit(1)) is None


def _has_words(session: Session, ticket_id: int) -> bool:
    moves = TicketEvent.event_type.in_(("ticket_created", "ticket_moved"))
    parked = select(func.max(TicketEvent.seq)).where(TicketEvent.ticket_id == ticket_id, moves).scalar_subquery()
    said = select(TicketComment.id).where(
        TicketComment.ticket_id == ticket_id, TicketComment.author_kind == ActorKind.HUMAN, TicketComment.seq > parked
    )
    return session.scalar(said.limit(1)) is not None


def words(wake: dict[str, Any] | None) -> str:
    """A wake condition as a person reads it."""
    if not wake:
        return "until somebody wakes it"
    at = format_clock(datetime.fromisoformat(wake["at"])) if wake.get("at") else ""
    return {
        "time": f"until {at}",
        "usage_reset": f"until the usage limit resets at {at}",
        "ticket": f"until {wake.get('ticket')} is done",
        "answer": "until a question is answered",
        "probe": f"until `{' '.join(wake.get('probe', []))}` succeeds",
        "manual": "until somebody wakes it",
        "agent_idle": f"until {wake.get('agent')} has been idle for {wake.get('minutes')} minutes",
    }[wake["kind"]]
