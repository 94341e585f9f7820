"""API of attempts: start several at one ticket, compare them, and keep one."""

from __future__ import annotations

from models import Ticket
from tickets.board import attempts_view
from tickets.lifecycle.schemas import AttemptJson
from tickets.planning import attempts
from tickets.planning.attempts import StartAttempts
from tickets.runs.notify_run import stopping_run
from tickets.workflow.attempts import find_group
from web.api.page import Page
from web.api.resource import OPERATORS, Call, Resource

blueprint = Resource("attempts", __name__)


@blueprint.reads("/tickets/<ticket>/attempts")
def list_attempts(call: Call, ticket: Ticket) -> Page[AttemptJson]:
    """List the attempts to which a ticket belongs, as their parent or as one of them, with what they came to."""
    return _build_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/attempts", rights=OPERATORS, status=201)
def start_attempts(call: Call, ticket: Ticket, body: StartAttempts) -> Page[AttemptJson]:
    """Let two or three agents try the ticket at once, each in a ticket of its own."""
    attempts.start_attempts(call.session, ticket, body, call.actor)
    return _build_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/keep", rights=OPERATORS)
def keep_attempt(call: Call, ticket: Ticket) -> Page[AttemptJson]:
    """Keep one attempt, and cancel the others. Their branches stay."""
    for other in attempts.keep_attempt(call.session, ticket, call.actor):
        call.notify_run(stopping_run(call.session, other.id))
    return _build_page(call, ticket)


def _build_page(call: Call, ticket: Ticket) -> Page[AttemptJson]:
    group = find_group(call.session, ticket.id)
    views = attempts_view.load_comparison(call.session, ticket, group, call.actor).attempts if group else ()
    return {"items": [AttemptJson.read(view) for view in views], "next": None}
