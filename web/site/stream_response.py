"""One client of a stream: how long it is served, whether it is still there, and that it cannot hold a thread.

Each stream holds a thread of the worker, so a client that is gone, stopped reading, or is no longer welcome has to be
noticed by the thread itself: it looks up every `SLICE_SECONDS`, and the kernel gives up on unread data for it.
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
    """What a stream tells."""

    def take(self, timeout: float) -> bytes | None:
        """What has come within `timeout` seconds (b"" for nothing), or None when nothing will come any more."""

    def idle(self) -> bytes:
        """A sign of life that also moves the client's cursor past what was of no interest to it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """`welcome` is asked every few seconds and False ends the stream."""

    heartbeat_seconds: float
    lifetime_seconds: float
    welcome: Callable[[], bool]


class Connection:
    """The server's end of one stream. `client` is its socket where the server tells (gunicorn does)."""

    def __init__(self, client: socket.socket | None, terms: Terms) -> None:
        self._client = client
        self._terms = terms
        self._sending = False
        self._stopped = False
        if client is not None and client.family in (socket.AF_INET, socket.AF_INET6):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_SECONDS * 1000))

    def serve(self, source: Source) -> Iterator[bytes]:
        """The body of the response, until the lifetime is over or there is nobody to serve."""
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
        """End the stream within a slice; a client that is not reading right now is cut off. Safe in a signal handler."""
        self._stopped = True
        if self._sending and self._client is not None:
            try:
                self._client.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is gone already

    def _send(self, data: bytes) -> Iterator[bytes]:
        self._sending = True
        yield data
        self._sending = False

    def _is_closed(self) -> bool:
        """Whether the client has closed its end; it says nothing else after its request."""
        if self._client is None:
            return False
        try:
            return self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Alarm:
    """Due every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        self._at = time.monotonic() + self._seconds

    def due(self) -> bool:
        """Whether the time is over; if so it starts anew."""
        if time.monotonic() < self._at:
            return False
        self.reset()
        return True
