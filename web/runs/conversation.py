"""API of comments on a ticket, messages to its agent, and events."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from models import ActorKind, Ticket
from protocol import MAX_BATCH_EVENTS
from tickets.conversation import message_routing, messages, timeline
from tickets.conversation.message_routing import IncomingMessage
from tickets.conversation.messages import NewMessage
from tickets.conversation.timeline import NewComment
from tickets.dispatch.budgets import Budgets
from tickets.lifecycle.schemas import CommentJson, EventJson, MessageJson
from tickets.runs import external, ingest
from tickets.shared import events, paging
from tickets.shared.errors import ClaimLost, Invalid
from tickets.shared.inputs import Body, Moment
from web.api.page import Page, Paging
from web.api.resource import ANYBODY, RUNS, WRITERS, Call, Resource

blueprint = Resource("conversation", __name__)


# ----------------------------------------------------------------------------------------------- comments and messages


@blueprint.reads("/tickets/<ticket>/comments", rights=ANYBODY | RUNS)
def list_comments(call: Call, ticket: Ticket, query: Paging) -> Page[CommentJson]:
    """List comments, the newest first."""
    before = paging.parse_number(query.cursor)
    rows = timeline.list_comments(call.session, ticket.id, before, query.limit + 1)
    page = rows[: query.limit]
    return {
        "items": [CommentJson.read(row) for row in page],
        "next": str(page[-1].id) if len(rows) > query.limit else None,
    }


@blueprint.writes("POST", "/tickets/<ticket>/comments", rights=WRITERS | RUNS, status=201)
def add_comment(call: Call, ticket: Ticket, body: NewComment) -> CommentJson:
    """Comment on a ticket, in Markdown."""
    return CommentJson.read(timeline.add_comment(call.session, ticket.id, body, call.actor))


class NewestQuery(Body):
    """Number of the newest items to list."""

    limit: int = Field(100, ge=1, le=200)


@blueprint.reads("/tickets/<ticket>/messages")
def list_messages(call: Call, ticket: Ticket, query: NewestQuery) -> Page[MessageJson]:
    """List messages to the agent with their delivery state, the newest first."""
    rows = messages.list_messages(call.session, ticket.id, query.limit)
    return {"items": [MessageJson.read(row) for row in rows], "next": None}


class SentJson(MessageJson):
    """A message and its effect. If it became an answer or a request for changes, `id` is that of the comment."""

    became: Literal["message", "answer", "request_changes"]
    text: str


@blueprint.writes("POST", "/tickets/<ticket>/messages", status=201)
def send_message(call: Call, ticket: Ticket, body: NewMessage) -> SentJson:
    """Send a message to the agent, with `mode` for the case that it is busy. Without a live run the message answers the
    ticket's open question, or requests changes to a ticket in review."""
    routed = message_routing.route_message(
        call.session, ticket, IncomingMessage(**body.model_dump()), call.actor, call.caller.identity
    )
    call.notify_run(routed["run"])
    became: dict[str, Any] = {"became": routed["became"], "text": routed["text"]}
    if routed["message"] is not None:
        return SentJson.read(messages.get(call.session, routed["message"]["id"]), **became)
    [comment] = timeline.list_comments(call.session, ticket.id, limit=1)
    return SentJson.read_comment(comment, body.mode, **became)


# ------------------------------------------------------------------------------------------------------------- events


class EventQuery(Body):
    """Part of the log: events with `seq` greater than `after`."""

    after: int = Field(0, ge=0, le=2**63 - 1)
    limit: int = Field(200, ge=1, le=events.PAGE_SIZE)


@blueprint.reads("/tickets/<ticket>/events", rights=ANYBODY | RUNS, errors=(410,))
def replay_events(call: Call, ticket: Ticket, query: EventQuery) -> Page[EventJson]:
    """Replay the ticket's events in order, with `next` as the `after` of the following page."""
    rows = events.replay(call.session, ticket.id, query.after, query.limit)
    full = len(rows) == query.limit
    return {"items": [EventJson.read(row) for row in rows], "next": str(rows[-1].seq) if full else None}


class ActivityQuery(Paging):
    """Page of the log, filtered by actor."""

    actor: str | None = Field(None, max_length=200, pattern=r"^[^\x00]+$")


@blueprint.reads("/events")
def list_events(call: Call, query: ActivityQuery) -> Page[EventJson]:
    """List the events of all tickets, the newest first, without those that workers report line by line."""
    filters = events.EventFilter(query.actor or "")
    feed = events.load_feed(call.session, filters, paging.parse_number(query.cursor), query.limit)
    return {"items": [EventJson.read(row) for row in feed.events], "next": str(feed.older) if feed.older else None}


class PostedEvent(Body):
    """An event to append to the log.

    A run may number its events with `run_seq`: posting an event without a number again is safe only with an
    Idempotency-Key. Without `ts` the event has the time of its arrival. A service posts `external.*` events, without
    `run_seq` and `ts`.
    """

    event_type: str = Field(pattern=ingest.EVENT_TYPE)
    payload: dict[str, Any]
    run_seq: int | None = Field(None, ge=1, le=2**63 - 1)
    ts: Moment | None = None

    def stated(self) -> dict[str, Any]:
        """Return the fields that have a value."""
        return {name: value for name, value in self if value is not None}


class TakenJson(TypedDict):
    accepted: int
    repeated: int
    last_run_seq: int


@blueprint.writes("POST", "/tickets/<ticket>/events", rights=WRITERS | RUNS, batch=True, late=True)
def post_events(call: Call, ticket: Ticket, body: list[PostedEvent]) -> TakenJson | ClaimLost:
    """Post one event, an array or NDJSON. Events with a `run_seq` are stored once, and those of a run that has lost its
    claim are refused."""
    if len(body) > MAX_BATCH_EVENTS:
        raise Invalid(f"A batch has at most {MAX_BATCH_EVENTS} events.", fields={"body": "too many events"})
    if call.actor.run_id is None or call.actor.kind is not ActorKind.RUN:
        return _post_external_events(call, ticket, body)
    batch = [ingest.WorkerEvent.model_validate(event.stated()) for event in body]
    result = ingest.ingest_events(call.session, call.actor.run_id, batch, Budgets.from_settings(call.settings))
    if result.refused:
        return ClaimLost(run=call.actor.run_id, reason=result.refused)
    return {"accepted": result.accepted, "repeated": result.repeated, "last_run_seq": result.last_run_seq}


def _post_external_events(call: Call, ticket: Ticket, body: list[PostedEvent]) -> TakenJson:
    for event in body:
        if event.run_seq is not None or event.ts is not None:
            raise Invalid("An external event has no run_seq and no ts.", fields={"run_seq": "is for runs"})
        external.post_event(call.session, ticket.id, event.event_type, event.payload, call.actor)
    return {"accepted": len(body), "repeated": 0, "last_run_seq": 0}
