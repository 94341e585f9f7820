"""The client's side of a WebSocket over a connected stream: text messages both ways, pings answered, no extensions."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, RejectConnection, Request, TextMessage
from wsproto.utilities import ProtocolError

MAX_MESSAGE_CHARACTERS = 256 * 1024 * 1024
CHUNK_BYTES = 65536


class BrokenSocket(Exception):
    """The other side does not speak the protocol, has closed the connection, or has gone."""


class WebSocketClient:
    """One connection. One thread receives while others may send; after an error it is of no more use."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._sending = threading.Lock()
        self._pieces: list[str] = []
        self._characters = 0

    def fileno(self) -> int:
        return self._stream.fileno()

    def shake_hands(self) -> list[str]:
        """Turn the stream into a WebSocket; the messages that came with the reply. Raises `BrokenSocket`, OSError."""
        self._send(Request(host="localhost", target="/"))
        while True:
            events = self._receive()
            for event in events:
                if isinstance(event, AcceptConnection):
                    return list(self._messages(events))
                if isinstance(event, RejectConnection):
                    raise BrokenSocket(f"the handshake was refused: {event.status_code}")

    def send(self, text: str) -> None:
        """Send a message. Raises `BrokenSocket`, OSError."""
        self._send(TextMessage(text))

    def receive(self) -> Iterator[str]:
        """Wait for the next bytes; the messages that they complete. Raises `BrokenSocket`, OSError."""
        return self._messages(self._receive())

    def _receive(self) -> Iterator[Event]:
        chunk = self._stream.recv(CHUNK_BYTES)
        if not chunk:
            raise BrokenSocket("the connection has ended")
        return self._events(chunk)

    def _events(self, chunk: bytes) -> Iterator[Event]:
        try:
            self._protocol.receive_data(chunk)
            yield from self._protocol.events()
        except ProtocolError as error:
            raise BrokenSocket(f"not a WebSocket: {error}") from error

    def _messages(self, events: Iterator[Event]) -> Iterator[str]:
        for event in events:
            match event:
                case TextMessage() if (text := self._join(event)) is not None:
                    yield text
                case Ping():
                    self._send(event.response())
                case CloseConnection():
                    self._send(event.response())
                    raise BrokenSocket("the other side has closed the connection")

    def _join(self, event: TextMessage) -> str | None:
        self._pieces.append(event.data)
        self._characters += len(event.data)
        if self._characters > MAX_MESSAGE_CHARACTERS:
            raise BrokenSocket(f"a message of more than {MAX_MESSAGE_CHARACTERS} characters")
        if not event.message_finished:
            return None
        text = "".join(self._pieces)
        self._pieces, self._characters = [], 0
        return text

    def _send(self, event: Event) -> None:
        with self._sending:
            try:
                data = self._protocol.send(event)
            except ProtocolError as error:
                raise BrokenSocket(str(error)) from error
            self._stream.sendall(data)
