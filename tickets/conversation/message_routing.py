"""What becomes of words for a ticket's agent: an answer, a request for changes, or a message; once, however often sent."""

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
    "answer": "This answers the question: the ticket goes on.",
    "request_changes": "This asks for changes: the ticket goes back to work.",
    "next_run": "No run is live: the next one begins with it.",
    "interrupt": "The agent is interrupted with it.",
    "restart": "The run ends, and the next one begins with it.",
    "busy": "The agent is at work: it takes this up when it can.",
    "idle": "The agent takes it up now.",
}
BUSY_STATES = (RunState.STARTING, RunState.RUNNING, RunState.WAITING)


class IncomingMessage(NewMessage):
    """Words for the agent. `id` is a UUID (version 4) made by the sender: what is sent again is not said again."""

    id: Key | None = Field(None, title="The sender's own id")


class QueuedMessageJson(TypedDict):
    id: int
    uuid: str
    state: str


class RoutedMessage(TypedDict):
    """What the words became, in one word and in a sentence; `run` is the live one that is to look at once."""

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
    """Say something to the ticket's agent. Without a live run it answers a question or asks for changes where the ticket
    waits for that and the actor may make that move, else it waits for the next run.

    `permit` may refuse what was not said before. Raises `Forbidden` for viewers and runs, `KeyReused`, and what the move or
    `messages.send` raises.
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
    """Do something under the sender's own key, or give the answer it got before; raises `KeyReused`."""
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
    """Return whether the actor may move the ticket so; the words of others wait for the next run."""
    context = transitions.load_actor_contexts(session, [ticket], actor)[ticket.id]
    return moves.MOVES[move] in transitions.list_moves(transitions.build_move_context(ticket, context))


def _choose_outcome(run: Run | None, body: IncomingMessage) -> str:
    if run is None:
        return "next_run"
    if body.mode in ("interrupt", "restart"):
        return body.mode
    return "busy" if run.state in BUSY_STATES else "idle"
