"""Live conversation of a person with a ticket's agent: the protocol of one connection, without its transport.

Both ends send small JSON objects. The database is authoritative: a text is stored as a row before it is confirmed, the
run's wrapper takes the rows one by one, and the agent's actions arrive as events of the log. After a disconnection a
client sends `hello` with the last `seq` it has received, and repeats unconfirmed messages. Each `id` is processed once.

From the client
    {"type": "hello", "page": "<id of this page>", "after": <seq of the last event received>}   first of all
    {"type": "say", "id": "<uuid4>", "body": "…", "mode": "queue" | "interrupt"}
    {"type": "answer", "id": "<uuid4>", "request": "…", "behavior": "allow" | "deny", "scope": "once" | "run",
     "message": "…", "answers": {"<question>": "…"}}
    {"type": "control", "id": "<uuid4>", "act": "take" | "ask" | "give" | "release"}
    {"type": "beat"}                                                    every few seconds, renews control

To the client
    {"type": "welcome", "you": "<name>", "may_speak": bool, "seq": <where the events begin>}
    {"type": "event", "event": {id, ticket, ticket_id, seq, event_type, actor, run_id, ts, payload}}   as in the streams
    {"type": "resync", "seq": <n>}                   too many events missed: reload the page, events continue after `seq`
    {"type": "control", "holder": "<name>" | null, "mine": bool, "asked": "<name>" | null, "asked_by_me": bool}
    {"type": "done", "id": "…", "became": "message" | "answer" | "request_changes" | "reply" | "control",
     "text": "the result in words", "message": {"id", "uuid", "state"} | null}
    {"type": "refused", "id": "…" | null, "error": "<code>", "message": "…", "detail": {…}}

The delivery of a message, queued -> delivered -> accepted, is reported by the events `message_queued` and
`agent.receipt` with its uuid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from database import Engine, reading, writing
from tickets.conversation import conversation_lock, message_routing, requests
from tickets.conversation.conversation_lock import Participant
from tickets.conversation.message_routing import IncomingMessage, Key
from tickets.conversation.requests import Reply
from tickets.shared import events, lookup, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError, HistoryPruned, Invalid
from tickets.shared.inputs import Body
from tickets.shared.rights import Act

MAX_REPLAY = 500
Message = dict[str, Any]


class HelloMessage(Body):
    type: Literal["hello"]
    page: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    after: int = Field(ge=0, le=2**63 - 1)


class SayMessage(IncomingMessage):
    type: Literal["say"]
    id: Key
    mode: Literal["queue", "interrupt"] = "queue"


class AnswerMessage(Reply):
    type: Literal["answer"]
    id: Key


class ControlMessage(Body):
    type: Literal["control"]
    id: Key
    act: Literal["take", "ask", "give", "release"]


class BeatMessage(Body):
    type: Literal["beat"]


ClientMessage = TypeAdapter[HelloMessage | SayMessage | AnswerMessage | ControlMessage | BeatMessage](
    Annotated[HelloMessage | SayMessage | AnswerMessage | ControlMessage | BeatMessage, Field(discriminator="type")]
)
CONTROL_ACTIONS = {
    "take": conversation_lock.take_control,
    "ask": conversation_lock.request_control,
    "give": conversation_lock.give_control,
    "release": conversation_lock.release_control,
}


@dataclass(frozen=True, slots=True)
class Person:
    """The person of a connection. `caller` identifies the login. Rights are decided in `tickets/shared/rights.py`."""

    actor: Actor
    caller: str


class ConversationConnection:
    """One connection, not thread-safe: its owner must serialize the calls."""

    def __init__(
        self, engine: Engine, ticket_id: int, person: Person, notify_run: Callable[[int | None], None]
    ) -> None:
        """`notify_run` is called after the commit of what a live run should learn."""
        self._engine = engine
        self._ticket = ticket_id
        self._person = person
        self._notify_run = notify_run
        self._participant: Participant | None = None
        self._seq = 0

    def receive(self, text: str | bytes) -> list[Message]:
        """Process one message of the client, and return the replies."""
        key = None
        try:
            message = _parse(text)
            key = getattr(message, "id", None)
            return self._obey(message)
        except DomainError as error:
            return [_refusal(key, error)]

    def news(self) -> list[Message]:
        """Return the events on the ticket since the last call, each once (empty when there are no more for now)."""
        if self._participant is None:
            return []
        try:
            with reading(self._engine) as session:
                rows = events.replay(session, self._ticket, self._seq)
        except HistoryPruned:
            return [self._resync()]
        self._seq = max([self._seq, *(row.seq or 0 for row in rows)])
        messages: list[Message] = [{"type": "event", "event": row.as_json()} for row in rows]
        return [*messages, self._control()] if _touches_control(rows) else messages

    def release_vanished(self) -> None:
        """Release control when its holder's lease has expired (to be called every few seconds)."""
        with reading(self._engine) as session:
            late = conversation_lock.has_lapsed(session, self._ticket)
        if late:
            with writing(self._engine) as session:
                conversation_lock.release_lapsed(session, self._ticket)

    def leave(self) -> None:
        """Release control when the page was closed in an orderly way."""
        if self._participant is not None and rights.may(self._participant.actor, Act.CONTROL):
            with writing(self._engine) as session:
                conversation_lock.release_control(session, self._ticket, self._participant)

    # Messages from the client

    def _obey(self, message: HelloMessage | SayMessage | AnswerMessage | ControlMessage | BeatMessage) -> list[Message]:
        match message:
            case HelloMessage():
                return self._welcome(message)
            case BeatMessage():
                return self._keep_control()
            case SayMessage():
                return [self._say(message)]
            case AnswerMessage():
                return [self._answer(message)]
            case ControlMessage():
                return [self._hand_over(message)]

    def _welcome(self, hello: HelloMessage) -> list[Message]:
        self._participant = Participant(self._person.actor, self._person.caller, hello.page)
        with reading(self._engine) as session:
            newest = lookup.get_ticket(session, self._ticket).event_seq
        missed_too_much = not newest - MAX_REPLAY <= hello.after <= newest
        self._seq = newest if missed_too_much else hello.after
        actor = self._person.actor
        facts = {"you": actor.name, "may_speak": rights.may(actor, Act.SPEAK), "seq": self._seq}
        resync = [self._resync()] if missed_too_much else []
        return [{"type": "welcome", **facts}, *resync, self._control(), *self._keep_control()]

    def _keep_control(self) -> list[Message]:
        participant = self._speaker()
        with reading(self._engine) as session:
            controller = conversation_lock.find_controller(session, self._ticket)
        if controller is not None and controller.holder == participant.place:
            with writing(self._engine) as session:
                conversation_lock.renew_control(session, self._ticket, participant)
        return []

    def _say(self, message: SayMessage) -> Message:
        participant = self._speaker()
        body = IncomingMessage(body=message.body, mode=message.mode, id=message.id)
        with writing(self._engine) as session:
            ticket = lookup.get_ticket(session, self._ticket)
            permit = partial(conversation_lock.require_control, session, ticket.id, participant)
            routed = message_routing.route_message(session, ticket, body, participant.actor, participant.caller, permit)
        return self._done(message.id, routed)

    def _answer(self, message: AnswerMessage) -> Message:
        participant = self._speaker()
        reply = Reply.model_validate(message.model_dump(exclude={"type", "id"}))

        def work() -> dict[str, Any]:
            run = requests.answer_request(session, self._ticket, reply, participant.actor)
            return {"became": "reply", "text": "The agent is told at once.", "message": None, "run": run}

        with writing(self._engine) as session:
            done = message_routing.run_once(session, participant.caller, message.id, message.model_dump(), work)
        return self._done(message.id, done)

    def _hand_over(self, message: ControlMessage) -> Message:
        participant = self._speaker()

        def work() -> dict[str, Any]:
            CONTROL_ACTIONS[message.act](session, self._ticket, participant)
            return {"became": "control", "text": "", "message": None, "run": None}

        with writing(self._engine) as session:
            done = message_routing.run_once(session, participant.place, message.id, message.model_dump(), work)
        return self._done(message.id, done)

    def _speaker(self) -> Participant:
        if self._participant is None:
            raise Invalid("Send hello first.")
        return self._participant

    # Messages to the client

    def _done(self, key: str, done: Mapping[str, Any]) -> Message:
        self._notify_run(done["run"])
        return {"type": "done", "id": key, **{name: done[name] for name in ("became", "text", "message")}}

    def _resync(self) -> Message:
        with reading(self._engine) as session:
            self._seq = lookup.get_ticket(session, self._ticket).event_seq
        return {"type": "resync", "seq": self._seq}

    def _control(self) -> Message:
        with reading(self._engine) as session:
            controller = conversation_lock.find_controller(session, self._ticket)
        place = self._participant.place if self._participant else None
        return {
            "type": "control",
            "holder": controller.name if controller else None,
            "mine": controller is not None and controller.holder == place,
            "asked": controller.asked_name if controller else None,
            "asked_by_me": controller is not None and controller.asked_by == place,
        }


def _parse(text: str | bytes) -> HelloMessage | SayMessage | AnswerMessage | ControlMessage | BeatMessage:
    try:
        return ClientMessage.validate_json(text)
    except ValidationError as error:
        fields = {".".join(str(part) for part in item["loc"]) or "message": item["msg"] for item in error.errors()}
        raise Invalid("The message is not valid.", fields=fields) from None


def _touches_control(rows: list[events.LogEntry]) -> bool:
    return any(row.event_type == conversation_lock.CONTROL_CHANGED for row in rows)


def _refusal(key: str | None, error: DomainError) -> Message:
    return {"type": "refused", "id": key, "error": error.code, "message": error.message, "detail": error.detail}
