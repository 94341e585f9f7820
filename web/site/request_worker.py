"""gunicorn's thread worker with a time limit for reading a request, so that half requests cannot hold its threads."""

from __future__ import annotations

import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

MIN_BYTES_PER_SECOND = 16_384
"""The rate from which on an upload may take as long as it needs."""


class TimedReader:
    """The socket of a connection as gunicorn's parser reads it: when the time is used up, the request ends there."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._socket = connection
        self._limit = self._seconds = seconds
        self._has_ended = False

    def start_request(self) -> None:
        self._seconds = self._limit

    def recv(self, size: int) -> bytes:
        """Receive up to `size` bytes. Empty at the end of the stream.

        The time for a request ends it for ever: what comes later is the rest of a body, and not another request.
        """
        if self._has_ended or self._seconds <= 0:
            self._has_ended = True
            return b""
        start = time.monotonic()
        self._socket.settimeout(self._seconds)
        try:
            data = self._socket.recv(size)
        except TimeoutError:
            data = b""
            self._has_ended = True
        finally:
            self._socket.settimeout(None)
        self._seconds += len(data) / MIN_BYTES_PER_SECOND - (time.monotonic() - start)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class TimedConnection(TConn):  # type: ignore[misc]
    """A connection whose parser reads through a `TimedReader`. WebSockets read from the socket itself."""

    read_seconds: float

    def init(self) -> None:
        if not self.initialized:
            super().init()
            self.parser.unreader.sock = TimedReader(self.sock, self.read_seconds)


class RequestWorker(ThreadWorker):  # type: ignore[misc]
    """The worker class of the board. `read_seconds`: how long it waits for the bytes of one request in all."""

    read_seconds = 10.0

    def enqueue_req(self, conn: Any) -> None:
        """Submit a connection to the pool, with a new time limit for its next request."""
        if conn.initialized:
            conn.parser.unreader.sock.start_request()
        else:
            conn.__class__ = TimedConnection  # the base class creates its connections by name
            conn.read_seconds = self.read_seconds
        super().enqueue_req(conn)
