"""Requests of running agents (permission to use a tool, or a question with choices), and their answers."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from models import RunRequest, Ticket, format_timestamp
from tickets.conversation import requests
from tickets.conversation.requests import Reply
from web.api.resource import OPERATORS, Call, Resource
from web.api.schemas import Page
from web.site import notify_run

blueprint = Resource("asked", __name__)


class RequestJson(TypedDict):
    request: str
    run_id: int
    kind: str
    payload: dict[str, Any]
    state: str
    answer: dict[str, Any] | None
    answered_by: str | None
    created: str


@blueprint.reads("/tickets/<ticket>/requests")
def list_requests(call: Call, ticket: Ticket) -> Page[RequestJson]:
    """List the requests of the ticket's agents, the newest first."""
    return {
        "items": [_build_request_json(row) for row in requests.list_requests(call.session, ticket.id)],
        "next": None,
    }


@blueprint.writes("POST", "/tickets/<ticket>/requests", rights=OPERATORS)
def answer_request(call: Call, ticket: Ticket, body: Reply) -> RequestJson:
    """Answer an open request: allow or deny a tool, once or for the run, or choose. The agent is notified at once."""
    run_id = requests.answer_request(call.session, ticket.id, body, call.actor)
    call.after.append(lambda: notify_run.notify_run(call.settings, run_id))
    return _build_request_json(requests.get_request(call.session, run_id, body.request))


def _build_request_json(row: RunRequest) -> RequestJson:
    return {
        "request": row.request,
        "run_id": row.run_id,
        "kind": row.kind,
        "payload": row.payload,
        "state": row.state.value,
        "answer": row.answer,
        "answered_by": row.answered_by,
        "created": format_timestamp(row.created),
    }
