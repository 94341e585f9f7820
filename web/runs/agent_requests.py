"""Requests of running agents (permission to use a tool, or a question with choices), and their answers."""

from __future__ import annotations

from models import Ticket
from tickets.conversation import requests
from tickets.conversation.requests import Reply
from tickets.lifecycle.schemas import RequestJson
from web.api.page import Page
from web.api.resource import OPERATORS, Call, Resource

blueprint = Resource("asked", __name__)


@blueprint.reads("/tickets/<ticket>/requests")
def list_requests(call: Call, ticket: Ticket) -> Page[RequestJson]:
    """List the requests of the ticket's agents, the newest first."""
    return {"items": [RequestJson.read(row) for row in requests.list_requests(call.session, ticket.id)], "next": None}


@blueprint.writes("POST", "/tickets/<ticket>/requests", rights=OPERATORS)
def answer_request(call: Call, ticket: Ticket, body: Reply) -> RequestJson:
    """Answer an open request: allow or deny a tool, once or for the run, or choose. The agent is notified at once."""
    run_id = requests.answer_request(call.session, ticket.id, body, call.actor)
    call.notify_run(run_id)
    return RequestJson.read(requests.get_request(call.session, run_id, body.request))
