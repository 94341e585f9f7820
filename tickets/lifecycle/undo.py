"""Undo of a move: for ten seconds, by the actor who made it, while nothing has happened since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from models import RelationKind, Run, Ticket, TicketEvent, TicketRelationship, now
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.lookup import get_ticket
from tickets.workflow import attempts

from . import transitions
from .move_snapshot import MoveSnapshot

UNDO_WINDOW = timedelta(seconds=10)
REQUEST_SLACK = timedelta(seconds=2)
"""Allowance for the duration of the request. The page offers undo no longer than `UNDO_WINDOW`."""
FINAL_MOVES = frozenset({"approve", "answer", "request_changes"})
"""Moves that reach others at once, with a text or a next phase, and cannot be undone."""


@dataclass(frozen=True, slots=True)
class UndoOffer:
    """A move that can be undone, and the values from before it."""

    move: str
    was: MoveSnapshot


def find_undo_offer(session: Session, ticket: Ticket, actor: Actor) -> UndoOffer | None:
    """Return the last move of this ticket if this actor may still undo it, else None.

    The move must be recent and the actor's own, it stopped no run, the ticket is unchanged since, no run has begun,
    and no other ticket waits for the end of this one.
    """
    last = session.scalar(
        select(TicketEvent)
        .where(TicketEvent.ticket_id == ticket.id, TicketEvent.event_type == "ticket_moved")
        .order_by(TicketEvent.seq.desc())
        .limit(1)
    )
    payload = last.payload_json if last is not None else {}
    if last is None or "was" not in payload or payload["move"] in FINAL_MOVES or last.actor != actor.name:
        return None
    is_recent = last.ts > now() - UNDO_WINDOW - REQUEST_SLACK and payload["version"] == ticket.version
    if not is_recent or _was_at_work(session, ticket, last.ts) or _is_awaited(session, ticket):
        return None
    return UndoOffer(payload["move"], payload["was"])


def _was_at_work(session: Session, ticket: Ticket, since: datetime) -> bool:
    """Return whether a run holds the ticket, or held it when it was moved. A stopped run cannot be restored."""
    at_work = select(Run.id).where(Run.ticket_id == ticket.id, or_(Run.ended.is_(None), Run.ended >= since))
    return session.scalar(at_work.limit(1)) is not None


def _is_awaited(session: Session, ticket: Ticket) -> bool:
    """Return whether a ticket waits for the end of this one, when it has just ended."""
    if ticket.closed is None:
        return False
    if attempts.find_group(session, ticket.id) is not None:
        return True
    blocks = select(TicketRelationship.other_id).where(
        TicketRelationship.ticket_id == ticket.id, TicketRelationship.kind == RelationKind.BLOCKS
    )
    waiting = select(Ticket.id).where(or_(Ticket.wake_ticket_id == ticket.id, Ticket.id.in_(blocks)))
    return session.scalar(waiting.limit(1)) is not None


def undo_move(session: Session, reference: str, actor: Actor) -> Ticket:
    """Undo the last move. Raises `ConflictError` when that is no longer possible, `StaleTicket` when it was changed."""
    ticket = get_ticket(session, reference)
    offer = find_undo_offer(session, ticket, actor)
    if offer is None:
        raise ConflictError("That can no longer be undone: ten seconds have passed, or the ticket has moved on.")
    return transitions.restore_ticket(session, ticket, offer.was, actor)
