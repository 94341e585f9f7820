"""The live conversation of a person with a ticket's agent: the logic of one connection, without its transport.

Both ends send small JSON objects. The database is the truth: what is said becomes a row before it is confirmed, the run's
wrapper takes the rows one by one, and what the agent does arrives as the events of the log. A client that was cut off
says `hello` with the last `seq` it has seen and sends again what was not confirmed; an `id` is carried out once.

From the client
    {"type": "hello", "page": "<id of this page>", "after": <seq of the last event it has seen>}   first of all
    {"type": "say", "id": "<uuid4>", "body": "…", "mode": "queue" | "interrupt"}
    {"type": "answer", "id": "<uuid4>", "request": "…", "behavior": "allow" | "deny", "scope": "once" | "run",
     "message": "…", "answers": {"<question>": "…"}}
    {"type": "control", "id": "<uuid4>", "act": "take" | "ask" | "give" | "release"}
    {"type": "beat"}                                                    every few seconds; keeps control

To the client
    {"type": "welcome", "you": "<name>", "may_speak": bool, "seq": <where the events begin>}
    {"type": "event", "event": {id, ticket, ticket_id, seq, event_type, actor, run_id, ts, payload}}   as in the streams
    {"type": "resync", "seq": <n>}                   too much was missed: read the page anew, events go on after `seq`
    {"type": "control", "holder": "<name>" | null, "mine": bool, "asked": "<name>" | null, "asked_by_me": bool}
    {"type": "done", "id": "…", "became": "message" | "answer" | "request_changes" | "reply" | "control",
     "text": "what that means", "message": {"id", "uuid", "state"} | null}
    {"type": "refused", "id": "…" | null, "error": "<code>", "message": "…", "detail": {…}}

A message's way, queued -> delivered -> accepted, is told by the events `message_queued` and `agent.receipt` with its uuid.
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
from tickets.conversation.message_routing import Key, Said
from tickets.conversation.requests import Reply
from tickets.shared import events, lookup, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError, Gone, Invalid
from tickets.shared.inputs import Body
from tickets.shared.rights import Act

REPLAY = 500
Message = dict[str, Any]


class Hello(Body):
    type: Literal["hello"]
    page: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    after: int = Field(ge=0, le=2**63 - 1)


class Say(Said):
    type: Literal["say"]
    id: Key
    mode: Literal["queue", "interrupt"] = "queue"


class Answer(Reply):
    type: Literal["answer"]
    id: Key


class Control(Body):
    type: Literal["control"]
    id: Key
    act: Literal["take", "ask", "give", "release"]


class Beat(Body):
    type: Literal["beat"]


ClientMessage = TypeAdapter[Hello | Say | Answer | Control | Beat](
    Annotated[Hello | Say | Answer | Control | Beat, Field(discriminator="type")]
)
ACTS = {
    "take": conversation_lock.take,
    "ask": conversation_lock.ask,
    "give": conversation_lock.give,
    "release": conversation_lock.release,
}


@dataclass(frozen=True, slots=True)
class Person:
    """Who is at the other end. `caller` names the log-in; what they may do is decided in `tickets/shared/rights.py`."""

    actor: Actor
    caller: str


class ConversationConnection:
    """One connection. It is not safe for threads: its owner lets one call in at a time."""

    def __init__(self, engine: Engine, ticket_id: int, person: Person, nudge: Callable[[int], None]) -> None:
        """`nudge` tells a live run to look at once; it is called after the commit."""
        self._engine = engine
        self._ticket = ticket_id
        self._person = person
        self._nudge = nudge
        self._voice: Participant | None = None
        self._seq = 0

    def hear(self, text: str | bytes) -> list[Message]:
        """Carry out one message of the client's; returns what it is to be told."""
        key = None
        try:
            said = _parse(text)
            key = getattr(said, "id", None)
            return self._obey(said)
        except DomainError as error:
            return [_refusal(key, error)]

    def news(self) -> list[Message]:
        """What happened on the ticket since the last call, each event once; empty when there is no more for now."""
        if self._voice is None:
            return []
        try:
            with reading(self._engine) as session:
                rows = events.replay(session, self._ticket, self._seq)
        except Gone:
            return [self._resync()]
        self._seq = max([self._seq, *(row.seq or 0 for row in rows)])
        told: list[Message] = [{"type": "event", "event": row.as_json()} for row in rows]
        return [*told, self._control()] if _touches_control(rows) else told

    def tend(self) -> None:
        """Release a controller that has vanished; to be called every few seconds."""
        with reading(self._engine) as session:
            late = conversation_lock.has_lapsed(session, self._ticket)
        if late:
            with writing(self._engine) as session:
                conversation_lock.lapse(session, self._ticket)

    def leave(self) -> None:
        """The page was closed in good order: let go of control at once."""
        if self._voice is not None and rights.may(self._voice.actor, Act.CONTROL):
            with writing(self._engine) as session:
                conversation_lock.release(session, self._ticket, self._voice)

    # What the client says

    def _obey(self, said: Hello | Say | Answer | Control | Beat) -> list[Message]:
        match said:
            case Hello():
                return self._greet(said)
            case Beat():
                return self._keep_control()
            case Say():
                return [self._say(said)]
            case Answer():
                return [self._answer(said)]
            case Control():
                return [self._hand_over(said)]

    def _greet(self, hello: Hello) -> list[Message]:
        self._voice = Participant(self._person.actor, self._person.caller, hello.page)
        with reading(self._engine) as session:
            newest = lookup.get(session, self._ticket).event_seq
        missed_too_much = not newest - REPLAY <= hello.after <= newest
        self._seq = newest if missed_too_much else hello.after
        actor = self._person.actor
        facts = {"you": actor.name, "may_speak": rights.may(actor, Act.SPEAK), "seq": self._seq}
        resync = [self._resync()] if missed_too_much else []
        return [{"type": "welcome", **facts}, *resync, self._control(), *self._keep_control()]

    def _keep_control(self) -> list[Message]:
        voice = self._speaker()
        with reading(self._engine) as session:
            held = conversation_lock.holding(session, self._ticket)
        if held is not None and held.holder == voice.place:
            with writing(self._engine) as session:
                conversation_lock.renew(session, self._ticket, voice)
        return []

    def _say(self, said: Say) -> Message:
        voice = self._speaker()
        body = Said(body=said.body, mode=said.mode, id=said.id)
        with writing(self._engine) as session:
            ticket = lookup.get(session, self._ticket)
            permit = partial(conversation_lock.require, session, ticket.id, voice)
            spoken = message_routing.say(session, ticket, body, voice.actor, voice.caller, permit)
        return self._done(said.id, spoken)

    def _answer(self, said: Answer) -> Message:
        voice = self._speaker()
        reply = Reply.model_validate(said.model_dump(exclude={"type", "id"}))

        def work() -> dict[str, Any]:
            run = requests.answer(session, self._ticket, reply, voice.actor)
            return {"became": "reply", "text": "The agent is told at once.", "message": None, "run": run}

        with writing(self._engine) as session:
            done = message_routing.once(session, voice.caller, said.id, said.model_dump(), work)
        return self._done(said.id, done)

    def _hand_over(self, said: Control) -> Message:
        voice = self._speaker()

        def work() -> dict[str, Any]:
            ACTS[said.act](session, self._ticket, voice)
            return {"became": "control", "text": "", "message": None, "run": None}

        with writing(self._engine) as session:
            done = message_routing.once(session, voice.place, said.id, said.model_dump(), work)
        return self._done(said.id, done)

    def _speaker(self) -> Participant:
        if self._voice is None:
            raise Invalid("Say hello first.")
        return self._voice

    # What it is told

    def _done(self, key: str, done: Mapping[str, Any]) -> Message:
        if done["run"] is not None:
            self._nudge(done["run"])
        return {"type": "done", "id": key, **{name: done[name] for name in ("became", "text", "message")}}

    def _resync(self) -> Message:
        with reading(self._engine) as session:
            self._seq = lookup.get(session, self._ticket).event_seq
        return {"type": "resync", "seq": self._seq}

    def _control(self) -> Message:
        with reading(self._engine) as session:
            held = conversation_lock.holding(session, self._ticket)
        place = self._voice.place if self._voice else None
        return {
            "type": "control",
            "holder": held.name if held else None,
            "mine": held is not None and held.holder == place,
            "asked": held.asked_name if held else None,
            "asked_by_me": held is not None and held.asked_by == place,
        }


def _parse(text: str | bytes) -> Hello | Say | Answer | Control | Beat:
    try:
        return ClientMessage.validate_json(text)
    except ValidationError as error:
        fields = {".".join(str(part) for part in item["loc"]) or "message": item["msg"] for item in error.errors()}
        raise Invalid("The message cannot be understood.", fields=fields) from None


def _touches_control(rows: list[events.Logged]) -> bool:
    return any(row.event_type == conversation_lock.CHANGED for row in rows)


def _refusal(key: str | None, error: DomainError) -> Message:
    return {"type": "refused", "id": key, "error": error.code, "message": error.message, "detail": error.detail}
