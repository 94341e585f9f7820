"""Streaming response to one client, which ends when the client is gone, stalled or no longer authorized.

Each stream occupies a thread of the worker, so the thread itself has to detect these cases: it checks every
`SLICE_SECONDS`, and `TCP_USER_TIMEOUT` makes the kernel close a connection whose data stays unread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

SLICE_SECONDS = 0.5
RECHECK_SECONDS = 10.0
STALL_SECONDS = 20.0
RETRY = b"retry: 2000\n"


class Source(Protocol):
    """The source of a stream's content."""

    def take(self, timeout: float) -> bytes | None:
        """Return new data within `timeout` seconds, b"" when there is none, or None at the end of the stream."""

    def idle(self) -> bytes:
        """Return a keep-alive that also advances the client's cursor past events that were filtered out."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Limits of a stream. `welcome` is called every few seconds and ends the stream by returning False."""

    heartbeat_seconds: float
    lifetime_seconds: float
    welcome: Callable[[], bool]


class Connection:
    """The server's end of one stream. `client` is its socket if the WSGI server provides it (gunicorn does)."""

    def __init__(self, client: socket.socket | None, terms: Terms) -> None:
        self._client = client
        self._terms = terms
        self._sending = False
        self._stopped = False
        if client is not None and client.family in (socket.AF_INET, socket.AF_INET6):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_SECONDS * 1000))

    def serve(self, source: Source) -> Iterator[bytes]:
        """Yield the body of the response until the lifetime is over or the client is gone."""
        terms = self._terms
        beat, recheck, end = Alarm(terms.heartbeat_seconds), Alarm(RECHECK_SECONDS), Alarm(terms.lifetime_seconds)
        yield from self._send(RETRY + (source.take(0) or b""))
        while not (self._stopped or end.due() or self._is_closed()):
            if recheck.due() and not terms.welcome():
                return
            news = source.take(SLICE_SECONDS)
            if news is None:
                return
            if news or beat.due():
                yield from self._send(news or source.idle())
                beat.reset()

    def stop(self) -> None:
        """End the stream within `SLICE_SECONDS`, disconnecting a client that does not read. Safe in a signal handler."""
        self._stopped = True
        if self._sending and self._client is not None:
            try:
                self._client.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the client has disconnected already

    def _send(self, data: bytes) -> Iterator[bytes]:
        self._sending = True
        yield data
        self._sending = False

    def _is_closed(self) -> bool:
        """Return whether the client has closed its end, which is all that it can send after its request."""
        if self._client is None:
            return False
        try:
            return self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Alarm:
    """A timer that is due once in every period of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        self._at = time.monotonic() + self._seconds

    def due(self) -> bool:
        """Return whether the period is over, and start the next one if so."""
        if time.monotonic() < self._at:
            return False
        self.reset()
        return True
