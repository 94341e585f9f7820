"""API of what a ticket must show: acceptance items, the evidence that its project requires, live routes, the receipt."""

from __future__ import annotations

from pydantic import Field

from models import Evidence, Ticket
from tickets.board import receipt
from tickets.board.receipt import TicketReceipt
from tickets.lifecycle import acceptance
from tickets.lifecycle.acceptance import Item
from tickets.lifecycle.schemas import EvidenceGateJson, ItemJson, RouteJson
from tickets.shared import lookup
from tickets.shared.inputs import Body, Prose, Title
from tickets.workflow import evidence, evidence_gates, item_evidence, live_routes
from tickets.workflow.evidence_gates import SignOff, WaiveGate
from tickets.workflow.item_evidence import ItemState
from tickets.workflow.live_routes import CheckRoute
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
    return _build_items_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/acceptance", rights=OPERATORS)
def judge_item(call: Call, ticket: Ticket, body: JudgeItem) -> Page[ItemJson]:
    """Set what a person thinks of an item's evidence, or withdraw it."""
    item = Item(body.item, body.text)
    acceptance.judge_item(call.session, ticket, item, body.state, body.note, call.actor)
    return _build_items_page(call, lookup.get_ticket(call.session, ticket.id))


def _build_items_page(call: Call, ticket: Ticket) -> Page[ItemJson]:
    rows = evidence.list_evidence(call.session, ticket.id)
    states = item_evidence.build_items(call.session, ticket, rows)
    items = zip(ticket.acceptance, states, strict=True)
    return {"items": [ItemJson.read(state, text=item["text"], met=item["met"]) for item, state in items], "next": None}


# -------------------------------------------------------------------------------------------------- required evidence


@blueprint.reads("/tickets/<ticket>/evidence-gates", rights=ANYBODY | RUNS)
def list_gates(call: Call, ticket: Ticket) -> Page[EvidenceGateJson]:
    """List the evidence that the project requires of a ticket, with what there is of it."""
    return _build_gates_page(call, ticket)


def _build_gates_page(call: Call, ticket: Ticket) -> Page[EvidenceGateJson]:
    return {"items": list(map(EvidenceGateJson.read, evidence.list_gates(call.session, ticket))), "next": None}


@blueprint.writes("POST", "/tickets/<ticket>/evidence-gates", rights=OPERATORS)
def waive_gate(call: Call, ticket: Ticket, body: WaiveGate) -> Page[EvidenceGateJson]:
    """Waive required evidence as not applicable, with the reason, or require it again without one."""
    evidence_gates.waive_gate(call.session, ticket, body, call.actor)
    return _build_gates_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/sign-off", rights=OPERATORS)
def sign_off(call: Call, ticket: Ticket, body: SignOff) -> Page[EvidenceGateJson]:
    """Sign off the work as it is now, on behalf of a person."""
    evidence_gates.sign_off(call.session, ticket, body, call.actor)
    return _build_gates_page(call, ticket)


@blueprint.reads("/tickets/<ticket>/receipt", rights=ANYBODY | RUNS)
def read_receipt(call: Call, ticket: Ticket) -> TicketReceipt:
    """Read the receipt of a ticket: what was proven, by which command, for which files, and how to repeat it."""
    return receipt.build_receipt(call.session, ticket)


@blueprint.reads("/tickets/<ticket>/routes", rights=ANYBODY | RUNS)
def list_routes(call: Call, ticket: Ticket) -> Page[RouteJson]:
    """List the live routes that were fetched or requested for a ticket, newest first."""
    rows = live_routes.list_checks(call.session, ticket.id)
    return {"items": [_read_route(row) for row in rows], "next": None}


@blueprint.writes("POST", "/tickets/<ticket>/routes", rights=OPERATORS | RUNS, status=201)
def check_route(call: Call, ticket: Ticket, body: CheckRoute) -> RouteJson:
    """Request that Mission Control fetches an address of the ticket's running result, from a host that the project lists."""
    row = live_routes.request_check(call.session, ticket, body, call.actor)
    return _read_route(row)


def _read_route(row: Evidence) -> RouteJson:
    answer = {"status": None, "sha256": None, "bytes": 0} | (row.data or {})
    return RouteJson.read(row, **answer, state=row.status)
