"""What a ticket is linked with, on its page: other tickets, and what whoever works on it should know."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

import auth
from database import Session
from models import Ticket
from tickets.conversation import context
from tickets.conversation.context import NewContext
from tickets.runs import prompt
from tickets.shared.lookup import get
from tickets.workflow import relationships

from .ticket_forms import Answer, Change, change, form_again

blueprint = Blueprint("ticket_links", __name__)

RELATIONS = [(said, said.replace("_", " ").capitalize()) for said in relationships.SAID if said != "related_to"]
KINDS = [("vault", "Page of the vault"), ("file", "File of the project"), ("url", "Address")]


def context_view(session: Session, ticket: Ticket) -> dict[str, Any]:
    """The links, and word for word what an agent is told of them."""
    told = "\n".join(prompt.context_lines(session, ticket))
    return {"links": context.of(session, ticket.id), "kinds": KINDS, "told": told}


@blueprint.post("/ticket/<reference>/relationships")
def relate(reference: str) -> Answer:
    """Relate the ticket to another, which is named by its identifier."""
    other, said = request.form.get("ticket", "").strip().upper(), request.form.get("kind", "")

    def made(session: Session, ticket: Ticket) -> None:
        relationships.relate(session, ticket.id, said, get(session, other).id, auth.actor())

    return _change_relations(reference, made)


@blueprint.post("/ticket/<reference>/relationships/<number:relationship>/remove")
def unrelate(reference: str, relationship: int) -> Answer:
    return _change_relations(
        reference, lambda session, ticket: relationships.remove(session, ticket.id, relationship, auth.actor())
    )


def _change_relations(reference: str, made: Change) -> Answer:
    return change(
        reference,
        made,
        lambda refused: form_again(reference, "_relate_form", "Relationship", refused, relations=RELATIONS),
    )


@blueprint.post("/ticket/<reference>/context")
def link(reference: str) -> Answer:
    """Link a page of the vault, a file or an address."""
    given = {name: request.form.get(name, "").strip() for name in ("kind", "path", "title", "note")}

    def made(session: Session, ticket: Ticket) -> None:
        context.add(session, ticket.id, NewContext.model_validate(given), auth.actor())

    return _change_context(reference, made)


@blueprint.post("/ticket/<reference>/context/<number:context_id>/remove")
def unlink(reference: str, context_id: int) -> Answer:
    return _change_context(
        reference, lambda session, ticket: context.remove(session, ticket.id, context_id, auth.actor())
    )


def _change_context(reference: str, made: Change) -> Answer:
    return change(
        reference,
        made,
        lambda refused: form_again(reference, "_context_form", "Context", refused, kinds=KINDS),
        "context",
    )
