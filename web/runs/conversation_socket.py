"""WebSocket of the live conversation with a ticket's agent, whose protocol `mc_interactive` describes."""

from __future__ import annotations

import json
import logging
import threading
from functools import partial

from flask import Blueprint
from simple_websocket import ConnectionClosed

import auth
from database import reading
from mc_interactive import ConversationConnection, Message, Person
from tickets.runs.notify_run import notify_run
from tickets.shared import lookup
from web.site import stream_response
from web.stream import sockets, stream_routes
from web.stream.hub import Hub, Interest
from web.stream.sockets import FAILED, WebSocketConnection

MAINTENANCE_SECONDS = 5.0
IDLE_TIMEOUT_SECONDS = 45.0
"""Time without a message after which the client is taken for gone: pages send a heartbeat every five seconds."""

blueprint = Blueprint("interactive", __name__)
sockets.install_slots(blueprint)
log = logging.getLogger(__name__)


@sockets.route_socket(blueprint, "/ws/tickets/<ticket>")
@auth.allow(*auth.PROGRAMS, *auth.READERS)
def talk(connection: WebSocketConnection, ticket: str) -> None:
    """Connect a client to the conversation of a ticket, to write or to read along."""
    settings, engine, caller = auth.get_instance().settings, auth.get_instance().engine, auth.get_caller()
    with reading(engine) as session:
        ticket_id = lookup.get_ticket(session, ticket).id
    person = Person(caller.actor, caller.identity)
    conversation = ConversationConnection(engine, ticket_id, person, partial(notify_run, settings))
    news = _NewsSender(connection, conversation, stream_routes.get_hub(), Interest(frozenset({ticket_id}), board=False))
    news.start()
    try:
        _receive_messages(connection, conversation)
    finally:
        news.end()


def _receive_messages(connection: WebSocketConnection, conversation: ConversationConnection) -> None:
    """Process the client's messages until it disconnects or times out.

    A client that closes the connection properly releases its control of the conversation.
    """
    tend, silence = stream_response.Alarm(MAINTENANCE_SECONDS), stream_response.Alarm(IDLE_TIMEOUT_SECONDS)
    try:
        while not silence.due():
            if tend.due():
                conversation.release_vanished()
            if (message := connection.receive()) is not None:
                silence.reset()
                with connection.lock:
                    _send_messages(connection, conversation.receive(message))
                    _send_news(connection, conversation)
    except ConnectionClosed:
        if connection.is_left_by_client:
            conversation.leave()


def _send_messages(connection: WebSocketConnection, messages: list[Message]) -> None:
    for message in messages:
        connection.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))


def _send_news(connection: WebSocketConnection, conversation: ConversationConnection) -> None:
    while messages := conversation.news():
        _send_messages(connection, messages)


class _NewsSender(threading.Thread):
    """Thread that sends new events to the client until `end()`, under the lock that also guards replies to messages."""

    def __init__(
        self, connection: WebSocketConnection, conversation: ConversationConnection, hub: Hub, interest: Interest
    ) -> None:
        super().__init__(name="interactive news", daemon=True)
        self._connection = connection
        self._conversation = conversation
        self._hub = hub
        self._interest = interest
        self._subscriber = hub.subscribe(interest)
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        try:
            while self._connection.open and not self._ended.is_set():
                self._follow()
        except (ConnectionClosed, OSError):
            return  # the thread that receives messages detects the end as well
        except Exception:
            log.exception("the news of a ticket cannot be sent")
            self._connection.close(FAILED, "internal server error")
        finally:
            self._hub.unsubscribe(self._subscriber)

    def _follow(self) -> None:
        """Wait for events and send the news, read from the log since the client's position.

        The queue only signals that there are new events, so that an overflow loses none.
        """
        frames, _ = self._subscriber.take(sockets.SLICE_SECONDS)
        if self._subscriber.finished:
            self._hub.unsubscribe(self._subscriber)
            self._subscriber = self._hub.subscribe(self._interest)
        elif not frames:
            return
        with self._connection.lock:
            _send_news(self._connection, self._conversation)
