"""The review queue: the tickets that wait for a person, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from models import Ticket
from tickets.conversation import messages, timeline
from tickets.shared.lookup import get_ticket
from tickets.shared.paging import MAX_COUNT
from tickets.workflow import relationships

from . import overview
from .columns import ATTENTION_STATES


@dataclass(frozen=True, slots=True)
class ReviewPlace:
    """The place of a ticket in the queue, from 1, with its neighbours."""

    identifier: str
    position: int
    length: int
    previous: str | None
    next: str | None

    @property
    def count(self) -> str:
        """The number of tickets in the queue, as the board counts its columns."""
        return str(self.length) if self.length < MAX_COUNT else f"{MAX_COUNT - 1}+"


def find_place(session: Session, identifier: str | None = None) -> ReviewPlace | None:
    """Find the place of a ticket, or the first place. None for a ticket that waits for nobody, and for an empty queue."""
    queue = overview.list_queue(session)
    if not queue or (identifier and identifier not in queue):
        return None
    at = queue.index(identifier) if identifier else 0
    neighbours = queue[at - 1] if at else None, queue[at + 1] if at + 1 < len(queue) else None
    return ReviewPlace(queue[at], at + 1, len(queue), *neighbours)


def find_next(session: Session, identifier: str, position: int) -> str | None:
    """Find the ticket to show after a decision on one that was at `position`, from 1. None when no other waits.

    It is the same ticket while that still waits for a decision, else the one that follows it.
    """
    queue = overview.list_queue(session)
    if identifier not in queue:
        return _select_cyclic(queue, position - 1)
    if _waits_for_decision(session, get_ticket(session, identifier)):
        return identifier
    at = queue.index(identifier)
    return _select_cyclic([*queue[:at], *queue[at + 1 :]], at)


def _select_cyclic(queue: Sequence[str], at: int) -> str | None:
    return (queue[at] if 0 <= at < len(queue) else queue[0]) if queue else None


def _waits_for_decision(session: Session, ticket: Ticket) -> bool:
    """Return whether there is something to decide. A run that has been answered is in the queue until it goes on."""
    waiting = timeline.list_pending_requests(session, ticket.id) or messages.list_undelivered(session, ticket.id)
    return ticket.status in ATTENTION_STATES or bool(waiting)


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """The time since which a ticket waits for a person, and the tickets that wait for it, as identifier and title."""

    since: datetime
    dependents: list[tuple[str, str]]


def load_facts(session: Session, ticket: Ticket) -> QueueFacts:
    asking = timeline.list_pending_requests(session, ticket.id)
    since = asking[0].created if asking else ticket.moved
    return QueueFacts(since, relationships.list_dependents(session, ticket.id))
