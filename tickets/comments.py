"""Writing a comment, in whoever's voice: the one place that does, so that each has its place in the conversation."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import ActorKind, CommentKind, Ticket, TicketComment

from .actors import Actor

MISSION_CONTROL = Actor.system("mission-control")


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
    """Add a comment at the present place of the ticket's sequence; call it after the event that it goes with."""
    usual = CommentKind.SYSTEM if actor.kind is ActorKind.SYSTEM else CommentKind.COMMENT
    comment = TicketComment(
        ticket_id=ticket_id,
        run_id=run_id or actor.run_id,
        author=actor.name,
        author_kind=actor.kind,
        kind=kind or usual,
        body=body,
        data=data,
        seq=session.scalar(select(Ticket.event_seq).where(Ticket.id == ticket_id)),
    )
    session.add(comment)
    session.flush()
    return comment
