"""Relationships and context links on the page of a ticket."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

import auth
from database import Session
from models import Ticket
from tickets.conversation import context
from tickets.conversation.context import NewContext
from tickets.runs import prompt
from tickets.shared.lookup import get_ticket
from tickets.workflow import relationships

from .ticket_forms import Answer, Change, apply_change, render_refused_form

blueprint = Blueprint("ticket_links", __name__)

RELATIONS = [(said, said.replace("_", " ").capitalize()) for said in relationships.KIND_BY_WORD if said != "related_to"]
KINDS = [("vault", "Vault page"), ("file", "Project file"), ("url", "Address")]


def load_context_tab(session: Session, ticket: Ticket) -> dict[str, Any]:
    """Load the context links, and the lines about them in the agent's prompt."""
    prompt_text = "\n".join(prompt.list_context_lines(session, ticket))
    return {"links": context.list_context(session, ticket.id), "kinds": KINDS, "told": prompt_text}


@blueprint.post("/ticket/<reference>/relationships")
def relate(reference: str) -> Answer:
    """Relate the ticket to another one, named by its identifier."""
    other, kind = request.form.get("ticket", "").strip().upper(), request.form.get("kind", "")

    def add_relationship(session: Session, ticket: Ticket) -> None:
        relationships.relate(session, ticket.id, kind, get_ticket(session, other).id, auth.get_actor())

    return _change_relations(reference, add_relationship)


@blueprint.post("/ticket/<reference>/relationships/<number:relationship>/remove")
def unrelate(reference: str, relationship: int) -> Answer:
    return _change_relations(
        reference,
        lambda session, ticket: relationships.remove_relationship(session, ticket.id, relationship, auth.get_actor()),
    )


def _change_relations(reference: str, edit: Change) -> Answer:
    return apply_change(
        reference,
        edit,
        lambda refusal: render_refused_form(
            reference, "ticket/_relate_form", "Relationship", refusal, relations=RELATIONS
        ),
    )


@blueprint.post("/ticket/<reference>/context")
def link(reference: str) -> Answer:
    """Link a page of the vault, a file or a URL."""
    fields = {name: request.form.get(name, "").strip() for name in ("kind", "path", "title", "note")}

    def add_context(session: Session, ticket: Ticket) -> None:
        context.add_context(session, ticket.id, NewContext.model_validate(fields), auth.get_actor())

    return _change_context(reference, add_context)


@blueprint.post("/ticket/<reference>/context/<number:context_id>/remove")
def unlink(reference: str, context_id: int) -> Answer:
    return _change_context(
        reference, lambda session, ticket: context.remove_context(session, ticket.id, context_id, auth.get_actor())
    )


def _change_context(reference: str, edit: Change) -> Answer:
    return apply_change(
        reference,
        edit,
        lambda refusal: render_refused_form(reference, "ticket/_context_form", "Context", refusal, kinds=KINDS),
        "context",
    )
