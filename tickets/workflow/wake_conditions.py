"""Wake conditions of parked tickets: a time, another ticket, an answer, a probe, a usage reset, an idle agent."""

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
from tickets.shared.lookup import IS_DISPATCHED, get_ticket
from tickets.team import agents

CLOCK_KINDS = {WakeKind.TIME, WakeKind.USAGE_RESET}


def build_columns(session: Session, wake: Wake) -> dict[str, Any]:
    """Build the ticket columns of a wake condition, whose searchable parts have columns of their own.

    Raises `NoSuchTicket`, and `Invalid` for an agent that is not on the team, which would count as idle at once.
    """
    awaited_id = get_ticket(session, wake.ticket).id if wake.ticket else None
    condition = wake.model_dump(mode="json", exclude_none=True)
    if wake.agent:
        condition["agent"] = agents.resolve_name(session, wake.agent)
    return {"wake": condition, "wake_at": wake.at if wake.kind in CLOCK_KINDS else None, "wake_ticket_id": awaited_id}


def list_due(session: Session, moment: datetime | None = None, limit: int = 200) -> list[Ticket]:
    """List parked tickets whose time has passed or whose awaited ticket has ended, both through an index."""
    ended = select(Ticket.id).where(Ticket.status.in_(TERMINAL))
    query = select(Ticket).where(
        Ticket.status == TicketStatus.WAITING,
        or_(Ticket.wake_at <= (moment or now()), Ticket.wake_ticket_id.in_(ended)),
    )
    return list(session.scalars(query.order_by(Ticket.id).limit(limit)))


def list_awaiting_probe(session: Session, limit: int = 16) -> list[Ticket]:
    """List parked tickets that wait for a command to succeed, which a job runs outside any transaction.

    A random sample, so that commands that never succeed do not keep the others waiting for ever.
    """
    waiting = _list_waiting(session, WakeKind.PROBE)
    return random.sample(waiting, min(limit, len(waiting)))


def list_awaiting_idle_agent(session: Session, moment: datetime | None = None) -> list[Ticket]:
    """List parked tickets that wait for an agent which has been idle for the number of minutes required."""
    moment = moment or now()
    waiting = _list_waiting(session, WakeKind.AGENT_IDLE)
    return [ticket for ticket in waiting if _is_agent_idle(session, ticket.wake, moment)]


def list_answered(session: Session) -> list[Ticket]:
    """List parked tickets that wait for a person's comment and have received one since they were parked."""
    waiting = _list_waiting(session, WakeKind.ANSWER)
    return [ticket for ticket in waiting if _has_answer(session, ticket.id)]


def _list_waiting(session: Session, kind: WakeKind) -> list[Ticket]:
    """List waiting tickets with a condition of this kind.

    The query filters on the text of the condition, since most tickets are parked until someone wakes them.
    """
    conditions = (Ticket.status == TicketStatus.WAITING, Ticket.wake_at.is_(None), Ticket.wake_ticket_id.is_(None))
    mentions_kind = cast(Ticket.wake, Text).contains(f'"{kind.value}"', autoescape=True)
    tickets = session.scalars(select(Ticket).where(*conditions, mentions_kind).order_by(Ticket.id))
    return [ticket for ticket in tickets if (ticket.wake or {}).get("kind") == kind]


def _is_agent_idle(session: Session, wake: dict[str, Any] | None, moment: datetime) -> bool:
    condition = wake or {}
    busy = or_(Run.ended.is_(None), Run.ended > moment - timedelta(minutes=int(condition["minutes"])))
    own_runs = (Run.agent == condition["agent"], IS_DISPATCHED)
    return session.scalar(select(Run.id).where(*own_runs, busy).limit(1)) is None


def _has_answer(session: Session, ticket_id: int) -> bool:
    moves = TicketEvent.event_type.in_(("ticket_created", "ticket_moved"))
    parked_seq = select(func.max(TicketEvent.seq)).where(TicketEvent.ticket_id == ticket_id, moves).scalar_subquery()
    query = select(TicketComment.id).where(
        TicketComment.ticket_id == ticket_id,
        TicketComment.author_kind == ActorKind.HUMAN,
        TicketComment.seq > parked_seq,
    )
    return session.scalar(query.limit(1)) is not None


def is_usage_reset(wake: dict[str, Any] | None) -> bool:
    """Return whether a ticket resumes by itself when a usage limit ends, which a person can cancel."""
    return (wake or {}).get("kind") == WakeKind.USAGE_RESET


def describe_wake(wake: dict[str, Any] | None) -> str:
    """Describe a wake condition for people."""
    if not wake:
        return "until someone wakes it"
    at = format_clock(datetime.fromisoformat(wake["at"])) if wake.get("at") else ""
    return {
        "time": f"until {at}",
        "usage_reset": f"until the usage limit resets at {at}",
        "ticket": f"until {wake.get('ticket')} is done",
        "answer": "until a question is answered",
        "probe": f"until `{' '.join(wake.get('probe', []))}` succeeds",
        "manual": "until someone wakes it",
        "agent_idle": f"until {wake.get('agent')} has been idle for {wake.get('minutes')} minutes",
    }[wake["kind"]]
