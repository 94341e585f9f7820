"""Context links of a ticket: vault pages, files and addresses that its workers should know."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from models import TicketContext
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, NotFound
from tickets.shared.inputs import Body, Prose

MAX_LINKS = 100


def _require_plain_path(path: str) -> str:
    if not path.isprintable():
        raise ValueError("must not contain control characters")
    if path.startswith("-") or ".." in path.split("/"):
        raise ValueError("must not begin with '-' or hold '..'")
    return path


Path = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(_require_plain_path)
]


class NewContext(Body):
    """A link to a page of the vault, a file of the project or an http(s) address (`path`, according to `kind`)."""

    path: Path
    kind: Literal["vault", "file", "url"] = "vault"
    title: str = Field("", max_length=200, pattern=r"^[^\x00]*$")
    note: Annotated[Prose, Field(max_length=2000)] = ""


def add_context(session: Session, ticket_id: int, body: NewContext, actor: Actor) -> TicketContext:
    """Link a context to a ticket.

    Raises `ConflictError` for an existing link, `Invalid` above a hundred links or for another kind of address.
    """
    if body.kind == "url" and not body.path.startswith(("http://", "https://")):
        raise Invalid("The address must begin with http:// or https://.", field="path")
    mine = TicketContext.ticket_id == ticket_id
    if session.scalar(select(TicketContext.id).where(mine, TicketContext.reference == body.path)) is not None:
        raise ConflictError("This is already linked to the ticket.", path=body.path)
    if (session.scalar(select(func.count()).where(mine)) or 0) >= MAX_LINKS:
        raise Invalid(f"A ticket may have at most {MAX_LINKS} links.", field="path")
    row = TicketContext(
        ticket_id=ticket_id, kind=body.kind, reference=body.path, title=body.title, note=body.note, author=actor.name
    )
    session.add(row)
    session.flush()
    events.append(session, ticket_id, "context_linked", {"context": row.id, "path": row.reference}, actor)
    return row


def list_context(session: Session, ticket_id: int) -> list[TicketContext]:
    """List the context links of a ticket (at most a hundred) in the order in which they were added."""
    return list(
        session.scalars(select(TicketContext).where(TicketContext.ticket_id == ticket_id).order_by(TicketContext.id))
    )


def remove_context(session: Session, ticket_id: int, context_id: int, actor: Actor) -> None:
    mine = (TicketContext.ticket_id == ticket_id, TicketContext.id == context_id)
    path = session.scalar(delete(TicketContext).where(*mine).returning(TicketContext.reference))
    if path is None:
        raise NotFound("The ticket has no such link.", context=context_id)
    events.append(session, ticket_id, "context_unlinked", {"context": context_id, "path": path}, actor)
