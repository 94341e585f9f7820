"""Relationships between tickets, with cycle checks. `blocks` gates dispatch."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, case, delete, false, func, or_, select, tuple_
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import TERMINAL, RelationKind, Run, Ticket, TicketRelationship
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, NotFound

DIRECTED_KINDS = {
    RelationKind.BLOCKS,
    RelationKind.CHILD_OF,
    RelationKind.CAUSED_BY,
    RelationKind.DUPLICATE_OF,
    RelationKind.FORK_OF,
}
REVERSED_WORDS = {
    "blocks": "blocked by",
    "duplicate_of": "duplicated by",
    "caused_by": "causes",
    "child_of": "parent of",
    "fork_of": "forked as",
    "relates_to": "relates to",
    "related_to": "relates to",
}


MAX_DEPENDENTS = 20
KIND_BY_WORD = {
    said: (kind, turned)
    for kind in RelationKind
    for said, turned in ((kind.value, False), (REVERSED_WORDS[kind.value].replace(" ", "_"), True))
    if kind in DIRECTED_KINDS or not turned
}
"""Every word for a relationship from one of its ends, with its kind and whether it is stored in reverse."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One relationship as seen from one of its tickets: `kind` in words, and the ticket at the other end."""

    id: int
    kind: str
    words: str
    identifier: str
    title: str
    status: str


def relate(session: Session, ticket_id: int, word: str, other_id: int, actor: Actor) -> TicketRelationship:
    """Add a relationship named from either end, such as `blocked_by`. Raises the errors of `add_relationship`."""
    kind, is_reversed = KIND_BY_WORD.get(word, (word, False))
    return add_relationship(
        session, *((other_id, kind, ticket_id) if is_reversed else (ticket_id, kind, other_id)), actor
    )


def add_relationship(session: Session, ticket_id: int, kind: str, other_id: int, actor: Actor) -> TicketRelationship:
    """Add a relationship.

    Raises `Invalid` for an unknown kind or the ticket itself, `ConflictError` for a repetition, a cycle or a late fork.
    """
    relation = _parse_kind(kind)
    if ticket_id == other_id:
        raise Invalid("A ticket cannot have a relationship with itself.", field="ticket")
    if _exists(session, relation, ticket_id, other_id):
        raise ConflictError("These tickets already have this relationship.", field="ticket")
    if relation is RelationKind.FORK_OF:
        _require_no_runs(session, ticket_id)
    if relation in DIRECTED_KINDS and is_reachable(session, relation, other_id, ticket_id):
        words = relation.value.replace("_", " ")
        raise ConflictError(
            f"This would make a cycle of “{words}”: the other ticket already leads back to this one.",
            field="ticket",
        )
    row = TicketRelationship(ticket_id=ticket_id, kind=relation, other_id=other_id, author=actor.name)
    session.add(row)
    session.flush()
    _append_events(session, "relationship_added", (row.id, ticket_id, relation, other_id), actor)
    return row


def _exists(session: Session, kind: RelationKind, ticket_id: int, other_id: int) -> bool:
    """Return whether the relationship exists, in either direction for an undirected kind."""
    ends = [(ticket_id, other_id)] if kind in DIRECTED_KINDS else [(ticket_id, other_id), (other_id, ticket_id)]
    pair = tuple_(TicketRelationship.ticket_id, TicketRelationship.other_id)
    same = select(TicketRelationship.id).where(TicketRelationship.kind == kind, pair.in_(ends))
    return session.scalar(same.limit(1)) is not None


def _require_no_runs(session: Session, ticket_id: int) -> None:
    """Raise `ConflictError` unless the ticket has no run and no other source: a fork begins with its first run."""
    if session.scalar(select(Run.id).where(Run.ticket_id == ticket_id).limit(1)) is not None:
        raise ConflictError("Only a ticket without runs can begin as a fork. Create a new ticket.", field="kind")
    forks = TicketRelationship.ticket_id == ticket_id, TicketRelationship.kind == RelationKind.FORK_OF
    if session.scalar(select(TicketRelationship.id).where(*forks).limit(1)) is not None:
        raise ConflictError("This ticket is already a fork of another one.", field="kind")


def _append_events(session: Session, event: str, link: tuple[int, int, RelationKind, int], actor: Actor) -> None:
    """Append an event to each of the two tickets, named from its end."""
    number, first, kind, second = link
    rows = session.execute(select(Ticket.id, Ticket.identifier).where(Ticket.id.in_((first, second))))
    names = {ticket_id: identifier for ticket_id, identifier in rows}  # noqa: C416 - rows are not pairs to mypy
    words = kind.value.replace("_", " ")
    for ticket_id, other_id, side_words in ((first, second, words), (second, first, REVERSED_WORDS[kind.value])):
        payload = {"relationship": number, "kind": side_words, "other": names[other_id]}
        events.append(session, ticket_id, event, payload, actor)


def _parse_kind(kind: str) -> RelationKind:
    try:
        return RelationKind(kind)
    except ValueError:
        raise Invalid(
            "Unknown kind of relationship.",
            field="kind",
            kinds=[relation_kind.value for relation_kind in RelationKind],
        ) from None


def is_reachable(session: Session, kind: RelationKind, start: int, goal: int) -> bool:
    """Return whether `goal` is reachable from `start` along relationships of this kind."""
    walk = select(TicketRelationship.other_id.label("id")).where(
        TicketRelationship.ticket_id == start, TicketRelationship.kind == kind
    )
    reached = walk.cte("reached", recursive=True)
    step = select(TicketRelationship.other_id).join(reached, TicketRelationship.ticket_id == reached.c.id)
    reached = reached.union(step.where(TicketRelationship.kind == kind))
    return bool(session.scalar(select(func.count()).select_from(reached).where(reached.c.id == goal)))


def remove_relationship(session: Session, ticket_id: int, relationship_id: int, actor: Actor) -> None:
    ends = or_(TicketRelationship.ticket_id == ticket_id, TicketRelationship.other_id == ticket_id)
    row = session.scalar(select(TicketRelationship).where(TicketRelationship.id == relationship_id, ends))
    if row is None:
        raise NotFound("The ticket has no such relationship.", relationship=relationship_id)
    session.execute(delete(TicketRelationship).where(TicketRelationship.id == row.id))
    _append_events(session, "relationship_removed", (row.id, row.ticket_id, row.kind, row.other_id), actor)


THIS_END, OTHER_END = TicketRelationship.ticket_id, TicketRelationship.other_id
OF_TICKET = (
    select(TicketRelationship, Ticket.identifier, Ticket.title, Ticket.status)
    .join(Ticket, Ticket.id == case((bindparam("ticket") == THIS_END, OTHER_END), else_=THIS_END))
    .where(or_(bindparam("ticket") == THIS_END, bindparam("ticket") == OTHER_END))
    .order_by(TicketRelationship.id)
)


def list_relations(session: Session, ticket_id: int) -> list[Relation]:
    """List all relationships of a ticket, from either end, named from its own end."""
    return [
        Relation(row.id, row.kind.value, _describe_kind(row, ticket_id), identifier, title, status.value)
        for row, identifier, title, status in session.execute(OF_TICKET, {"ticket": ticket_id})
    ]


def _describe_kind(row: TicketRelationship, ticket_id: int) -> str:
    """Name the kind of a relationship from this ticket's end."""
    return row.kind.value.replace("_", " ") if row.ticket_id == ticket_id else REVERSED_WORDS[row.kind.value]


OPEN_BLOCKERS = (
    select(TicketRelationship.other_id, Ticket.identifier)
    .join(Ticket, Ticket.id == TicketRelationship.ticket_id)
    .where(
        TicketRelationship.kind == RelationKind.BLOCKS,
        in_ids(TicketRelationship.other_id, "tickets"),
        Ticket.status.not_in(TERMINAL),
    )
    .order_by(Ticket.id)
)


def find_open_blockers(session: Session, ticket_ids: list[int]) -> dict[int, list[str]]:
    """Find the identifiers of the unfinished tickets that block each of these tickets."""
    if not ticket_ids:
        return {}
    blockers: dict[int, list[str]] = {}
    for ticket_id, identifier in fetch_rows(session, OPEN_BLOCKERS, tickets=ticket_ids):
        blockers.setdefault(ticket_id, []).append(identifier)
    return blockers


BLOCKED_TICKETS = select(TicketRelationship.other_id).where(
    TicketRelationship.ticket_id == bindparam("ticket"), TicketRelationship.kind == RelationKind.BLOCKS
)
DEPENDENTS = (
    select(Ticket.identifier, Ticket.title)
    .where(
        or_(Ticket.id.in_(BLOCKED_TICKETS), Ticket.wake_ticket_id == bindparam("ticket")),
        Ticket.status.not_in(TERMINAL),
        Ticket.archived == false(),
    )
    .order_by(Ticket.id)
    .limit(MAX_DEPENDENTS)
)


def list_dependents(session: Session, ticket_id: int) -> list[tuple[str, str]]:
    """List the unfinished tickets that wait for this one, as identifier and title."""
    return [(identifier, title) for identifier, title in session.execute(DEPENDENTS, {"ticket": ticket_id})]
