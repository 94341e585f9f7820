"""The only writer of comments, which assigns each its place in the conversation."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import ActorKind, CommentKind, Ticket, TicketComment, now
from tickets.shared.actors import Actor

MISSION_CONTROL = Actor.system("mission-control")


# Through the ORM, with the sequence number read separately, a comment takes 0.8 ms instead of 0.13.
INSERT = (
    insert(TicketComment.__table__)  # type: ignore[arg-type]
    .values(seq=select(Ticket.event_seq).where(Ticket.id == bindparam("ticket")).scalar_subquery())
    .returning(TicketComment.id, TicketComment.seq)
)


def write(
    session: Session,
    ticket_id: int,
    body: str,
    actor: Actor = MISSION_CONTROL,
    *,
    kind: CommentKind | None = None,
    run_id: int | None = None,
    data: dict[str, Any] | None = None,
) -> TicketComment:
    """Add a comment with the ticket's current sequence number. Call it after appending the related event."""
    usual = CommentKind.SYSTEM if actor.kind is ActorKind.SYSTEM else CommentKind.COMMENT
    values: dict[str, Any] = {
        "ticket_id": ticket_id,
        "run_id": run_id or actor.run_id,
        "author": actor.name,
        "author_kind": actor.kind,
        "kind": kind or usual,
        "body": body,
        "data": data,
        "created": now(),
    }
    number, seq = fetch_rows(session, INSERT, ticket=ticket_id, **values).one()
    return TicketComment(id=number, seq=seq, **values)


def count_send_backs(
    session: Session, ticket_id: int, by: ActorKind, kinds: Collection[CommentKind] = (CommentKind.FEEDBACK,)
) -> int:
    """Count the change requests, or other comments, by actors of this kind since the last comment of a person."""
    mine = TicketComment.ticket_id == ticket_id
    last_seq = select(func.max(TicketComment.seq)).where(mine, TicketComment.author_kind == ActorKind.HUMAN)
    since = session.scalar(last_seq) or 0
    conditions = (TicketComment.kind.in_(kinds), TicketComment.author_kind == by)
    return session.scalar(select(func.count()).where(mine, TicketComment.seq > since, *conditions)) or 0
