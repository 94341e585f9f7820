"""gunicorn's thread worker with time limits for slow clients.

Half requests cannot hold its threads, and clients that do not close their end of a connection cannot hold its main loop.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

MIN_BYTES_PER_SECOND = 16_384
"""The rate from which on an upload may take as long as it needs."""
LINGER_SECONDS = 2.0
"""How long an ended connection still reads what its client sends, so that the client gets all of the response."""
MAX_LINGERING = 64
CHUNK_BYTES = 1 << 16


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
    linger: Callable[[socket.socket], None]

    def init(self) -> None:
        if not self.initialized:
            super().init()
            self.parser.unreader.sock = TimedReader(self.sock, self.read_seconds)

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.linger(self.sock)
        else:
            super().close()


class RequestWorker(ThreadWorker):  # type: ignore[misc]
    """The worker class of the board. `read_seconds`: how long it waits for the bytes of one request in all."""

    read_seconds = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering: dict[socket.socket, float] = {}

    def enqueue_req(self, conn: Any) -> None:
        """Submit a connection to the pool, with a new time limit for its next request."""
        if conn.initialized:
            conn.parser.unreader.sock.start_request()
        else:
            conn.__class__ = TimedConnection  # the base class creates its connections by name
            conn.read_seconds = self.read_seconds
            conn.linger = self._linger
        super().enqueue_req(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        super().murder_keepalived(force)
        now = time.monotonic()
        for connection in [connection for connection, end in self._lingering.items() if force or end < now]:
            self._end_lingering(connection)

    def _linger(self, connection: socket.socket) -> None:
        """Close a connection once its client has. The base class waits for each one in the main loop, which holds all others."""
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if len(self._lingering) >= MAX_LINGERING:
            self._end_lingering(next(iter(self._lingering)))
        connection.setblocking(False)
        self._lingering[connection] = time.monotonic() + LINGER_SECONDS
        self.poller.register(connection, selectors.EVENT_READ, self._drain)

    def _drain(self, connection: socket.socket) -> None:
        try:
            is_over = not connection.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        if is_over:
            self._end_lingering(connection)

    def _end_lingering(self, connection: socket.socket) -> None:
        """Close a connection, unless it was closed since the main loop has collected its events."""
        if self._lingering.pop(connection, None) is not None:
            self.poller.unregister(connection)
            connection.close()
