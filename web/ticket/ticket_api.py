"""API of tickets: list, create, read, edit, move, and check whether one can start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast

from pydantic import Field, create_model
from typing_extensions import TypedDict

from auth import Right
from models import Ticket
from tickets.board import ticket_query
from tickets.dispatch import policy, queue_order
from tickets.dispatch.queue_order import QueuePlace
from tickets.lifecycle import editing, transitions
from tickets.lifecycle.moves import MOVES, Move
from tickets.lifecycle.schemas import GateJson, read_tickets
from tickets.runs.notify_run import stopping_run
from tickets.shared import lookup
from tickets.shared.inputs import Body, EditTicket, NewTicket
from tickets.shared.ticket_fields import TicketJson
from web.api.page import Page
from web.api.resource import ANYBODY, RUNS, WRITERS, Call, Resource

blueprint = Resource("tickets", __name__)

ORDERERS = frozenset({Right.OPERATOR, Right.ORCHESTRATOR})
MOVERS = ORDERERS | {Right.TRIAGE, Right.REVIEWER}


@blueprint.reads("/tickets")
def list_tickets(call: Call, query: ticket_query.TicketQuery) -> Page[TicketJson]:
    """List tickets, the most recently changed first."""
    page = ticket_query.find_tickets(call.session, query)
    return {"items": read_tickets(call.session, page.tickets), "next": page.next}


@blueprint.writes("POST", "/tickets", rights=WRITERS | RUNS, status=201)
def create_ticket(call: Call, body: NewTicket) -> TicketJson:
    """Create a ticket in `inbox`, `todo` or, with a wake condition, `waiting`. Without `tags` they follow from rules. A ticket
    created by a run is a child of its ticket."""
    return _reload_ticket_json(call, transitions.create_ticket(call.session, body, call.actor))


@blueprint.reads("/tickets/<ticket>", rights=ANYBODY | RUNS)
def read_ticket(call: Call, ticket: Ticket) -> TicketJson:
    """Read a ticket."""
    return _reload_ticket_json(call, ticket)


@blueprint.writes("PATCH", "/tickets/<ticket>", rights=WRITERS | {Right.TRIAGE})
def edit_ticket(call: Call, ticket: Ticket, body: EditTicket) -> TicketJson:
    """Edit fields of a ticket, refused if its `version` has changed since it was read."""
    return _reload_ticket_json(call, editing.edit_ticket(call.session, ticket, body, call.actor))


def _build_move_body(definition: Move) -> type[Body]:
    """Build the request model of one move: its name, the ticket's version, and the move's input."""
    fields: dict[str, Any] = {
        "move": (Literal[definition.name], ...),
        "version": (int | None, Field(None, ge=1, description="refused when the ticket has changed since")),
    }
    name = "".join(word.capitalize() for word in definition.name.split("_")) + "Move"
    return cast(type[Body], create_model(name, __base__=definition.facts, **fields))


if TYPE_CHECKING:
    MoveBody = Body
else:
    MoveBody = Annotated[Union[tuple(map(_build_move_body, MOVES.values()))], Field(discriminator="move")]  # noqa: UP007


@blueprint.writes("POST", "/tickets/<ticket>/moves", rights=MOVERS)
def move_ticket(call: Call, ticket: Ticket, body: MoveBody) -> TicketJson:
    """Move a ticket. A refused move changes nothing."""
    facts = body.model_dump(exclude_unset=True)
    move, version = facts.pop("move"), facts.pop("version", None)
    updated_ticket = transitions.transition(call.session, ticket.id, move, call.actor, version=version, **facts)
    call.notify_run(stopping_run(call.session, ticket.id))
    return _reload_ticket_json(call, updated_ticket)


@blueprint.writes("POST", "/tickets/<ticket>/place", rights=ORDERERS)
def place_ticket(call: Call, ticket: Ticket, body: QueuePlace) -> TicketJson:
    """Put a ticket of To do at a place in the queue of its project."""
    queue_order.place_ticket(call.session, ticket, body, call.actor)
    return _reload_ticket_json(call, ticket)


class RunnableJson(TypedDict):
    runnable: bool
    gates: list[GateJson]


@blueprint.reads("/tickets/<ticket>/runnable")
def read_runnable(call: Call, ticket: Ticket) -> RunnableJson:
    """Check whether the ticket can start now, with the result of every gate of the dispatcher in its order."""
    live = lookup.find_live_run(call.session, ticket.id)
    gates = policy.check_ticket(call.session, ticket, live, policy.DispatchLimits.from_settings(call.settings))
    return {"runnable": all(gate.ok for gate in gates), "gates": [GateJson.read(gate) for gate in gates]}


def _reload_ticket_json(call: Call, ticket: Ticket) -> TicketJson:
    """Build the JSON of the ticket as reloaded, since appending events changes the row after it was read."""
    return read_tickets(call.session, [lookup.get_ticket(call.session, ticket.id)])[0]
