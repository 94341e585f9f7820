"""Delivery of a person's text to a ticket's agent as an answer, a change request or a message (idempotent)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

from pydantic import Field, StringConstraints
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from models import Run, RunState, Ticket, TicketStatus
from tickets.lifecycle import moves, transitions
from tickets.shared import idempotency, rights
from tickets.shared.actors import Actor
from tickets.shared.lookup import find_live_run
from tickets.shared.rights import Act

from . import messages
from .messages import NewMessage

Key = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
MOVE_BY_STATUS: dict[TicketStatus, Literal["answer", "request_changes"]] = {
    TicketStatus.NEEDS_INPUT: "answer",
    TicketStatus.IN_REVIEW: "request_changes",
}
OUTCOME_TEXTS = {
    "answer": "Sent as the answer. The ticket continues.",
    "request_changes": "Sent as a change request. The ticket goes back to To do.",
    "next_run": "No agent is running. The next run starts with your message.",
    "interrupt": "The agent is interrupted with your message.",
    "restart": "The run ends, and the next one starts with your message.",
    "busy": "Queued. The agent reads it when its current turn ends.",
    "idle": "Sent. The agent reads it now.",
}
BUSY_STATES = (RunState.STARTING, RunState.RUNNING, RunState.WAITING)


class IncomingMessage(NewMessage):
    """Text for the agent. `id` is a UUID (version 4) chosen by the sender that makes a repeated request idempotent."""

    id: Key | None = Field(None, title="The sender's own id")


class QueuedMessageJson(TypedDict):
    id: int
    uuid: str
    state: str


class RoutedMessage(TypedDict):
    """The result of a delivery: its kind, a sentence for people, and the live run to notify."""

    became: Literal["message", "answer", "request_changes"]
    text: str
    message: QueuedMessageJson | None
    run: int | None


def route_message(
    session: Session,
    ticket: Ticket,
    body: IncomingMessage,
    actor: Actor,
    caller: str,
    permit: Callable[[], None] | None = None,
) -> RoutedMessage:
    """Deliver a person's text to the agent as answer, change request or message (idempotent).

    Without a live run it answers a question or requests changes if the ticket waits for that and the actor may make the
    move. Otherwise it is queued for the current or next run.

    `permit` may refuse a delivery that was not made before. Raises `Forbidden` for viewers and runs, `KeyReused`, and the
    errors of the move and of `messages.queue_message`.
    """
    rights.require(actor, Act.SPEAK)

    def work() -> dict[str, Any]:
        if permit is not None:
            permit()
        return dict(_route(session, ticket, body, actor))

    if body.id is None:
        return cast(RoutedMessage, work())
    return cast(RoutedMessage, run_once(session, caller, body.id, {"ticket": ticket.id, **body.model_dump()}, work))


def run_once(
    session: Session, caller: str, key: str, content: dict[str, Any], work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Do the work once per sender's key, and return the stored result when it is repeated. Raises `KeyReused`."""
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    request = idempotency.KeyedRequest(caller, key, fingerprint)
    response = idempotency.find_response(session, request)
    if response is not None:
        return cast(dict[str, Any], json.loads(response.text))
    done = work()
    idempotency.store_response(session, request, idempotency.StoredResponse(200, json.dumps(done)))
    return done


def _route(session: Session, ticket: Ticket, body: IncomingMessage, actor: Actor) -> RoutedMessage:
    run = find_live_run(session, ticket.id)
    move = MOVE_BY_STATUS.get(ticket.status)
    if run is None and move is not None and _may_make(session, ticket, move, actor):
        transitions.transition(session, ticket.id, move, actor, body=body.body)
        return {"became": move, "text": OUTCOME_TEXTS[move], "message": None, "run": None}
    message = messages.queue_message(session, ticket, body, actor, body.id)
    facts: QueuedMessageJson = {"id": message.id, "uuid": message.uuid, "state": message.state.value}
    return {
        "became": "message",
        "text": OUTCOME_TEXTS[_choose_outcome(run, body)],
        "message": facts,
        "run": run.id if run else None,
    }


def _may_make(session: Session, ticket: Ticket, move: str, actor: Actor) -> bool:
    """Return whether the actor may make this move. Messages of others wait for the next run."""
    context = transitions.load_actor_contexts(session, [ticket], actor)[ticket.id]
    return moves.MOVES[move] in transitions.list_moves(transitions.build_move_context(ticket, context))


def _choose_outcome(run: Run | None, body: IncomingMessage) -> str:
    if run is None:
        return "next_run"
    if body.mode in ("interrupt", "restart"):
        return body.mode
    return "busy" if run.state in BUSY_STATES else "idle"
