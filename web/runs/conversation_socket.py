"""The live conversation with a ticket's agent, over a WebSocket; what is said there is described in `mc_interactive`."""

from __future__ import annotations

import json
import logging
import threading

from flask import Blueprint
from simple_websocket import ConnectionClosed

import auth
from auth import Right
from database import reading
from mc_interactive import ConversationConnection, Message, Person
from tickets.shared import lookup
from web.site import notify_run, stream_response
from web.stream import sockets, stream_routes
from web.stream.hub import Hub, Interest
from web.stream.sockets import FAILED, WebSocketConnection

READERS = (Right.VIEWER, Right.OPERATOR, Right.ORCHESTRATOR, Right.SERVICE)
TEND_SECONDS = 5.0
SILENCE_SECONDS = 45.0
"""How long a page may say nothing: it beats every five seconds."""

blueprint = Blueprint("interactive", __name__)
sockets.serves(blueprint)
log = logging.getLogger(__name__)


@sockets.route(blueprint, "/ws/tickets/<ticket>")
@auth.allow(*READERS)
def talk(line: WebSocketConnection, ticket: str) -> None:
    """Talk with the ticket's agent, or read along."""
    settings, engine, caller = auth.instance().settings, auth.instance().engine, auth.caller()
    with reading(engine) as session:
        ticket_id = lookup.get(session, ticket).id
    person = Person(caller.actor, caller.identity)
    conversation = ConversationConnection(engine, ticket_id, person, lambda run: notify_run.nudge(settings, run))
    news = _News(line, conversation, stream_routes.hub(), Interest(frozenset({ticket_id}), board=False))
    news.start()
    try:
        _converse(line, conversation)
    finally:
        news.end()


def _converse(line: WebSocketConnection, conversation: ConversationConnection) -> None:
    """Hear the client until it leaves; one that leaves in good order lets go of control."""
    tend, silence = stream_response.Alarm(TEND_SECONDS), stream_response.Alarm(SILENCE_SECONDS)
    try:
        while not silence.due():
            if tend.due():
                conversation.tend()
            if (said := line.receive()) is not None:
                silence.reset()
                with line.lock:
                    _tell(line, conversation.hear(said))
                    _tell_news(line, conversation)
    except ConnectionClosed:
        if line.was_left:
            conversation.leave()


def _tell(line: WebSocketConnection, messages: list[Message]) -> None:
    for message in messages:
        line.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))


def _tell_news(line: WebSocketConnection, conversation: ConversationConnection) -> None:
    while told := conversation.news():
        _tell(line, told)


class _News(threading.Thread):
    """Tells the client what happens, until `end()`. Hearing and telling take turns under the lock of the line."""

    def __init__(
        self, line: WebSocketConnection, conversation: ConversationConnection, hub: Hub, interest: Interest
    ) -> None:
        super().__init__(name="interactive news", daemon=True)
        self._line = line
        self._conversation = conversation
        self._hub = hub
        self._interest = interest
        self._subscriber = hub.subscribe(interest)
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        try:
            while self._line.open and not self._ended.is_set():
                self._follow()
        except (ConnectionClosed, OSError):
            return  # whoever hears the client notices too
        except Exception:
            log.exception("the news of a ticket cannot be told")
            self._line.close(FAILED, "something broke on the server")
        finally:
            self._hub.unsubscribe(self._subscriber)

    def _follow(self) -> None:
        """The queue only says that something happened: what it was is read from the log, from the client's place on."""
        frames, _ = self._subscriber.take(sockets.SLICE_SECONDS)
        if self._subscriber.finished:
            self._hub.unsubscribe(self._subscriber)
            self._subscriber = self._hub.subscribe(self._interest)
        elif not frames:
            return
        with self._line.lock:
            _tell_news(self._line, self._conversation)
