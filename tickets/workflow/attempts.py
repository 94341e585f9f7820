"""Attempts: sibling tickets with one wish, each worked by another agent, of which one is kept and completes their parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session, aliased

from database import fetch_rows, in_ids
from models import TERMINAL, ActorKind, Attempt, BlockReason, Ticket, TicketStatus
from tickets.shared.actors import Actor

ALL_CANCELLED = "Every attempt was cancelled. Start new ones, give it to one agent, or close it."


@dataclass(frozen=True, slots=True)
class AttemptGroup:
    """A parent with its attempts, the oldest first. `kept_id` is the attempt that a person has decided for."""

    parent: Ticket
    attempts: Sequence[Ticket]
    kept_id: int | None

    def list_open(self, without: int) -> list[Ticket]:
        """List the attempts that are still open, without one of them."""
        return [ticket for ticket in self.attempts if ticket.id != without and ticket.status not in TERMINAL]

    @property
    def is_cancelled(self) -> bool:
        """True when every attempt was cancelled, so that none completes the parent."""
        return all(ticket.status is TicketStatus.CANCELLED for ticket in self.attempts)


OWN = aliased(Attempt)
GROUP = (
    select(Ticket, Attempt.parent_id, Attempt.kept)
    .join(Attempt, Attempt.ticket_id == Ticket.id)
    .where(
        or_(
            Attempt.parent_id == bindparam("ticket"),
            Attempt.parent_id.in_(select(OWN.parent_id).where(OWN.ticket_id == bindparam("ticket"))),
        )
    )
    .order_by(Ticket.id)
    .execution_options(populate_existing=True)
)


def find_group(session: Session, ticket_id: int) -> AttemptGroup | None:
    """Find the attempts to which a ticket belongs, as their parent or as one of them."""
    rows = session.execute(GROUP, {"ticket": ticket_id}).all()
    if not rows:
        return None
    kept_id = next((row.Ticket.id for row in rows if row.kept), None)
    return AttemptGroup(session.get_one(Ticket, rows[0].parent_id), [row.Ticket for row in rows], kept_id)


def build_return_block(actor: Actor) -> dict[str, Any]:
    """Build the facts by which a ticket is blocked for whoever cancelled the last of its attempts."""
    owner = actor.name if actor.kind is ActorKind.HUMAN else "operator"
    return {"reason": BlockReason.NEEDS_HUMAN, "owner": owner, "next_action": ALL_CANCELLED}


OPEN_ATTEMPTS = (
    select(Attempt.parent_id, Ticket.identifier)
    .join(Ticket, Ticket.id == Attempt.ticket_id)
    .where(in_ids(Attempt.parent_id, "tickets"), Ticket.status.not_in(TERMINAL))
    .order_by(Ticket.id)
)


def find_open_attempts(session: Session, ticket_ids: Sequence[int]) -> dict[int, list[str]]:
    """Find the identifiers of the unfinished attempts at each of these tickets."""
    if not ticket_ids:
        return {}
    identifiers: dict[int, list[str]] = {}
    for parent_id, identifier in fetch_rows(session, OPEN_ATTEMPTS, tickets=list(ticket_ids)):
        identifiers.setdefault(parent_id, []).append(identifier)
    return identifiers
