"""The order of To do as people put it: the manual rank of tickets within their project.

Ranks count from 1. Placing a ticket ranks those before it too, so that the rest keeps its order by priority and age.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from sqlalchemy import false, select, update
from sqlalchemy.orm import Session

from models import UNRANKED, Ticket, TicketStatus
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid
from tickets.shared.inputs import Body, Reference
from tickets.shared.lookup import get_ticket
from tickets.shared.paging import QUEUE
from tickets.shared.rights import Act

MAX_PLACES = 200
RULES = """\
- Pickup and board read To do in one order: resumed tickets, then those with a manual rank, then by priority, and the oldest.
- Ranks count from 1 within a project. Tickets of several projects with the same rank are ordered by priority and age.
- Who puts a ticket at a place ranks the tickets of its project before it too, so that nothing else changes its order. Others
  follow by priority and age. A ticket keeps its rank when it leaves To do and comes back, and loses it with its project.
- People and the orchestrator put tickets in order, among the first 200 of a project.
"""


class QueuePlace(Body):
    """A place in the queue of the ticket's project: before or after another ticket, a step, or `to` without a manual rank."""

    before: Reference | None = None
    after: Reference | None = None
    to: Literal["top", "up", "down", "unranked"] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> QueuePlace:
        if sum(value is not None for value in (self.before, self.after, self.to)) != 1:
            raise ValueError("name exactly one place: before, after or to")
        return self


def place_ticket(session: Session, ticket: Ticket, place: QueuePlace, actor: Actor) -> None:
    """Put a ticket of To do at a place among the tickets of its project.

    Raises `ConflictError` for a ticket in another state, `Invalid` for a neighbour that is not in this queue.
    """
    rights.require(actor, Act.ORDER_QUEUE)
    if ticket.status is not TicketStatus.TODO:
        raise ConflictError("Only tickets in To do can be put in order.", ticket=ticket.identifier)
    if place.to == "unranked":
        ranks = {ticket.id: UNRANKED}
    else:
        queue = _load_queue(session, ticket)
        others = [other for other in queue if other.id != ticket.id]
        ranks = _rank(ticket, others, _find_position(session, ticket, queue, others, place))
    _write_ranks(session, ranks)
    events.append(session, ticket.id, "ticket_ranked", {"rank": ranks[ticket.id]}, actor)


def _load_queue(session: Session, ticket: Ticket) -> list[Ticket]:
    """Load the first tickets of the queue that this ticket is in: its project's, or those without a project."""
    query = select(Ticket).where(
        Ticket.status == TicketStatus.TODO,
        Ticket.archived == false(),
        Ticket.project_id.is_not_distinct_from(ticket.project_id),
    )
    return list(session.scalars(query.order_by(*QUEUE.by()).limit(MAX_PLACES)))


def _find_position(
    session: Session, ticket: Ticket, queue: list[Ticket], others: list[Ticket], place: QueuePlace
) -> int:
    """Find how many of the others come before the ticket at this place."""
    if place.to == "top":
        return 0
    if place.to is not None:
        current = _find_index(queue, ticket, "to")
        return max(0, current - 1) if place.to == "up" else min(len(others), current + 1)
    neighbour = get_ticket(session, place.before or place.after or "")
    return _find_index(others, neighbour, "before") if place.before else _find_index(others, neighbour, "after") + 1


def _find_index(tickets: list[Ticket], ticket: Ticket, field: str) -> int:
    """Find a ticket among these of a queue. Raises `Invalid`."""
    index = next((at for at, other in enumerate(tickets) if other.id == ticket.id), None)
    if index is None:
        text = f"{ticket.identifier} is not among the first {MAX_PLACES} tickets in To do of the same project."
        raise Invalid(text, field=field)
    return index


def _rank(ticket: Ticket, others: list[Ticket], position: int) -> dict[int, int]:
    """Rank the ticket at its position, those before it, and those that were ranked already. Returns changed ranks."""
    new_order = [*others[:position], ticket, *others[position:]]
    last_ranked = max((at for at, other in enumerate(new_order) if other.rank != UNRANKED), default=0)
    first_part = new_order[: max(position, last_ranked) + 1]
    changes = {other.id: rank for rank, other in enumerate(first_part, 1) if other.rank != rank}
    return {ticket.id: position + 1} | changes


def _write_ranks(session: Session, ranks: dict[int, int]) -> None:
    for ticket_id, rank in ranks.items():
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(rank=rank))
