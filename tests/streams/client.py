"""A client of event streams on a plain socket, so that a test can cut the connection anywhere or stop reading."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """A block of the stream. `event` is None for an id or a comment alone."""

    id: str | None
    event: str | None
    data: str
    comment: str | None = None

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.data)
        return value


@dataclass
class Client:
    """An EventSource, which keeps the last id, over HTTP/1.0, so that bytes arrive as they were sent."""

    port: int
    token: str
    path: str = "/api/v1/stream"
    last_id: str | None = None
    method: str = "GET"
    buffer_bytes: int | None = None
    timeout: float = 60.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    _socket: socket.socket | None = None
    _data: bytes = b""

    def open(self) -> Client:
        """Send the request and read the response headers, discarding unread data of an earlier connection."""
        connection = socket.socket()
        if self.buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)
        connection.settimeout(self.timeout)
        connection.connect(("127.0.0.1", self.port))
        self._socket, self._data, self.ended = connection, b"", False
        last = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
        head = (
            f"{self.method} {self.path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n{last}\r\n"
        )
        connection.sendall(head.encode())
        first, *rest = self._until(b"\r\n\r\n").decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in rest if line)
        return self

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def body(self) -> bytes:
        """Read the rest of the response."""
        while self._receive():
            pass
        return self._data

    def messages(self) -> Iterator[Message]:
        """Yield each block until the stream ends. Raises TimeoutError after `timeout` seconds without data."""
        while block := self._until(b"\n\n"):
            message = _parse(block.decode())
            self.last_id = message.id or self.last_id
            yield message

    def events(self) -> Iterator[Message]:
        """Yield the blocks that a browser dispatches as events."""
        return (message for message in self.messages() if message.event)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._data:
            if not self._receive():
                return b""
        block, self._data = self._data.split(mark, 1)
        return block

    def _receive(self) -> bool:
        assert self._socket is not None
        chunk = self._socket.recv(65536)
        self._data += chunk
        self.ended = not chunk
        return bool(chunk)


def _parse(block: str) -> Message:
    fields = [line.partition(":") for line in block.split("\n")]
    values = {name: value.removeprefix(" ") for name, _, value in fields}
    return Message(values.get("id"), values.get("event"), values.get("data", ""), values.get(""))
