"""API of context links: pages, files and URLs that whoever works on a ticket should know."""

from __future__ import annotations

from models import Ticket
from tickets.conversation import context
from tickets.conversation.context import NewContext
from tickets.lifecycle.schemas import ContextJson
from web.api.page import Page
from web.api.resource import ANYBODY, RUNS, WRITERS, Call, Resource

blueprint = Resource("context", __name__)


@blueprint.reads("/tickets/<ticket>/context", rights=ANYBODY | RUNS)
def list_context(call: Call, ticket: Ticket) -> Page[ContextJson]:
    """List the context links of a ticket, oldest first."""
    return {"items": [ContextJson.read(row) for row in context.list_context(call.session, ticket.id)], "next": None}


@blueprint.writes("POST", "/tickets/<ticket>/context", rights=WRITERS | RUNS, status=201)
def link_context(call: Call, ticket: Ticket, body: NewContext) -> ContextJson:
    """Link a page of the vault, a file or a URL to a ticket."""
    return ContextJson.read(context.add_context(call.session, ticket.id, body, call.actor))


@blueprint.writes("DELETE", "/tickets/<ticket>/context/<number:context_id>")
def unlink_context(call: Call, ticket: Ticket, context_id: int) -> None:
    """Remove a context link."""
    context.remove_context(call.session, ticket.id, context_id, call.actor)
