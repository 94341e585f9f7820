"""API of acceptance items: their states with what proves them, and a person's decision."""

from __future__ import annotations

from pydantic import Field

from models import Ticket
from tickets.lifecycle import acceptance
from tickets.lifecycle.acceptance import Item
from tickets.lifecycle.schemas import ItemJson
from tickets.shared import lookup
from tickets.shared.inputs import Body, Prose, Title
from tickets.workflow import evidence, item_evidence
from tickets.workflow.item_evidence import ItemState
from web.api.page import Page
from web.api.resource import ANYBODY, OPERATORS, RUNS, Call, Resource

blueprint = Resource("acceptance", __name__)


class JudgeItem(Body):
    """A person's decision on an item, identified by its index and text as read. Without a state it is withdrawn."""

    item: int = Field(ge=0, le=49)
    text: Title
    state: ItemState | None = None
    note: Prose = ""


@blueprint.reads("/tickets/<ticket>/acceptance", rights=ANYBODY | RUNS)
def list_items(call: Call, ticket: Ticket) -> Page[ItemJson]:
    """List the acceptance items of a ticket, with the state of each and what proves it."""
    return _build_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/acceptance", rights=OPERATORS)
def judge_item(call: Call, ticket: Ticket, body: JudgeItem) -> Page[ItemJson]:
    """Set what a person thinks of an item's evidence, or withdraw it."""
    item = Item(body.item, body.text)
    acceptance.judge_item(call.session, ticket, item, body.state, body.note, call.actor)
    return _build_page(call, lookup.get_ticket(call.session, ticket.id))


def _build_page(call: Call, ticket: Ticket) -> Page[ItemJson]:
    rows = evidence.list_evidence(call.session, ticket.id)
    states = item_evidence.build_items(call.session, ticket, rows)
    items = zip(ticket.acceptance, states, strict=True)
    return {"items": [ItemJson.read(state, text=item["text"], met=item["met"]) for item, state in items], "next": None}
