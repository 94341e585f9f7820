"""WebSockets: their limit per process, serialized writes, and the shutdown of all when the server reloads.

Each occupies a thread, so their number is limited: one too many is refused with 503 before the upgrade, like a stream.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from flask import Blueprint, Response, current_app, g, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server

import auth
from tickets.shared.errors import DomainError
from web.site import stream_response
from web.site.connection_limit import ConnectionLimit, ConnectionSlot
from web.site.metrics import OPEN

from .stream_routes import build_refusal

OPTIONS = {"ping_interval": 20, "max_message_size": 1 << 20}
SLICE_SECONDS = 0.5
CLOSE_TIMEOUT_SECONDS = 1.0

GOING_AWAY = 1001
FAILED = 1011
REFUSED = 4000
"""Base of the close codes of refusals: the HTTP status of the error is added."""
REVOKED = REFUSED + 401
MAX_REASON_BYTES = 120
"""Bytes of the reason sent in a close frame, which carries at most 123."""
NORMAL_CLOSE_CODES = (1000, 1001)

log = logging.getLogger(__name__)
_stopping = threading.Event()
_creating = threading.Lock()


class _SerializedSocket:
    """Socket wrapper that serializes complete writes, including those that the WebSocket library makes by itself.

    `close()` only shuts the connection down: the descriptor belongs to the server, which closes it once.
    """

    def __init__(self, inner: socket.socket, lock: threading.RLock) -> None:
        self._inner = inner
        self._lock = lock
        self.recv = inner.recv
        self.fileno = inner.fileno
        self.sending = False

    def send(self, data: bytes) -> int:
        with self._lock:
            self.sending = True
            self._inner.sendall(data)
            self.sending = False
        return len(data)

    def close(self) -> None:
        with suppress(OSError):
            self._inner.shutdown(socket.SHUT_RDWR)


class WebSocketConnection:
    """The server's end of one WebSocket. Any thread may write, under one lock."""

    def __init__(self, ws: Server, welcome: Callable[[], bool]) -> None:
        self._ws = ws
        self._welcome = welcome
        self._recheck = stream_response.Alarm(stream_response.RECHECK_SECONDS)
        self.lock = threading.RLock()
        inner = ws.sock
        if inner.family in (socket.AF_INET, socket.AF_INET6):
            inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stream_response.STALL_SECONDS * 1000))
        self._socket = ws.sock = _SerializedSocket(inner, self.lock)
        self._closing = False

    @property
    def is_left_by_client(self) -> bool:
        """True when the client closed the connection with a normal close code."""
        return not self._closing and self._ws.close_reason in NORMAL_CLOSE_CODES

    @property
    def open(self) -> bool:
        return bool(self._ws.connected)

    def send(self, data: str | bytes) -> None:
        """Send a message. Raises OSError or `ConnectionClosed` when the client is gone."""
        with self.lock:
            self._ws.send(data)

    def receive(self) -> str | bytes | None:
        """Receive a message, or None when there is none within `SLICE_SECONDS`.

        Raises `ConnectionClosed` at the end. The connection is closed here when the server reloads or the client's
        log-in or token is no longer valid.
        """
        if _stopping.is_set():
            self.close(GOING_AWAY, "the server reloads")
        elif self._recheck.due() and not self._welcome():
            self.close(REVOKED, "this log-in has ended")
        message: str | bytes | None = self._ws.receive(SLICE_SECONDS)
        return message

    def close(self, code: int, reason: str) -> None:
        """Close the connection with a close frame, and shut it down after the client's reply or a timeout."""
        with suppress(OSError, ConnectionClosed), self.lock:
            self._closing = True
            self._ws.close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
        self._ws.thread.join(CLOSE_TIMEOUT_SECONDS)
        self._socket.close()

    def cut_if_stalled(self) -> None:
        """Shut the connection down if a write is blocked because the client does not read."""
        if self._socket.sending:
            self._socket.close()


_open: set[WebSocketConnection] = set()


def stop() -> None:
    """End every WebSocket of this process within a second, for good. Safe in a signal handler."""
    _stopping.set()
    for connection in tuple(_open):
        connection.cut_if_stalled()


# ------------------------------------------------------------------------------------------------------------- serving

View = Callable[..., None]


def install_slots(blueprint: Blueprint) -> None:
    """Make the WebSockets of a blueprint take connection slots. Call it once, before the routes are declared."""
    blueprint.record_once(lambda state: state.app.config.setdefault("SOCK_SERVER_OPTIONS", OPTIONS))
    blueprint.before_request(_take_slot)
    blueprint.teardown_request(_release_slot)


def _take_slot() -> Response | None:
    if "websocket" not in request.headers.get("Upgrade", "").lower():
        return None
    g.place = _get_limit().take()
    return None if g.place else build_refusal()


def _release_slot(_error: BaseException | None) -> None:
    slot: ConnectionSlot | None = g.pop("place", None)
    if slot is not None:
        slot.release()


def _get_limit() -> ConnectionLimit:
    """Return the limit of this process for WebSockets, created at its first use, after the fork."""
    with _creating:
        limit = current_app.extensions.get("sockets")
        if not isinstance(limit, ConnectionLimit):
            limit = ConnectionLimit(auth.get_instance().settings.ws_max_clients, OPEN["sockets"].set)
            current_app.extensions["sockets"] = limit
    return limit


def route_socket(blueprint: Blueprint, rule: str) -> Callable[[View], View]:
    """Declare a WebSocket route, whose view gets a `WebSocketConnection` before the parameters of the rule.

    A `DomainError` of the view closes the connection with `REFUSED` plus its status, any other error with `FAILED`.
    """

    def declare(view: View) -> View:
        @wraps(view)
        def serve(ws: Server, *args: Any, **kwargs: Any) -> None:
            engine, caller = auth.get_instance().engine, auth.get_caller()
            connection = WebSocketConnection(ws, lambda: auth.is_still_valid(engine, caller))
            _open.add(connection)
            try:
                view(connection, *args, **kwargs)
            except (ConnectionClosed, OSError):
                return
            except DomainError as error:
                connection.close(REFUSED + error.status, error.message)
            except Exception:
                log.exception("the WebSocket at %s failed", rule)
                connection.close(FAILED, "internal server error")
            finally:
                connection.close(GOING_AWAY, "")
                _open.discard(connection)

        Sock().route(rule, bp=blueprint)(serve)
        return view

    return declare
