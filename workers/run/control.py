"""The control thread of a run: sends heartbeats and receives the server's orders.

Orders arrive in the response to a heartbeat. A datagram on the run's socket only asks for a heartbeat at once.
Without it the wrapper sends one every `BEAT_SECONDS`.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol import StopCode, StopOrder

from .api import STALE_STATUSES, ApiClient, ApiResponse, Unreachable
from .supervised_thread import FailureLog, SupervisedThread

BEAT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders in one heartbeat's response. The server repeats messages and answers until it has their receipts."""

    stop: StopOrder | None = None
    messages: tuple[Mapping[str, Any], ...] = ()
    answers: tuple[Mapping[str, Any], ...] = ()
    interrupt: str | None = None
    model: Mapping[str, Any] | None = None


class Mailbox:
    """A queue of orders from other threads and signal handlers, with a descriptor that is readable while it has any."""

    def __init__(self) -> None:
        self._mail: deque[Orders] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self._bell

    def add(self, orders: Orders) -> None:
        self._mail.append(orders)
        os.eventfd_write(self._bell, 1)

    def take(self) -> list[Orders]:
        """Return all orders since the last call."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        return [self._mail.popleft() for _ in range(len(self._mail))]


class HeartbeatThread(SupervisedThread):
    """A thread that sends heartbeats until closed. `status` builds the body, and orders go into `mailbox`."""

    def __init__(
        self,
        api: ApiClient,
        run_id: int,
        place: Path,
        status: Callable[[], Mapping[str, Any]],
        mailbox: Mailbox,
        log: FailureLog | None = None,
    ) -> None:
        super().__init__("control", log)
        self._api = api
        self._path = f"/runs/{run_id}/heartbeat"
        self._place = place
        self._status = status
        self._mailbox = mailbox
        self._nudge = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.asked = 0
        self.answered = 0

    def work(self) -> None:
        with selectors.DefaultSelector() as selector, _open_socket(self._place) as hints:
            selector.register(self._nudge, selectors.EVENT_READ, lambda: os.eventfd_read(self._nudge))
            if hints:
                selector.register(hints, selectors.EVENT_READ, lambda: hints.recv(512))
            while not self._closing.is_set():
                self._send_heartbeat()
                for key, _ in selector.select(BEAT_SECONDS):
                    key.data()

    def look(self) -> int:
        """Send a heartbeat at once. `answered` reaches the returned number when it is over, with or without a response."""
        self.asked += 1
        os.eventfd_write(self._nudge, 1)
        return self.asked

    def close(self) -> None:
        """Stop the heartbeats and remove the socket."""
        self._closing.set()
        os.eventfd_write(self._nudge, 1)
        self.join(self._api.timeout)

    def _send_heartbeat(self) -> None:
        beat_number = self.asked
        try:
            self._take_answer(self._api.post(self._path, json.dumps(self._status()).encode()))
        except Unreachable:
            return  # the next heartbeat comes soon
        finally:
            self.answered = beat_number
            os.eventfd_write(self._mailbox.fileno(), 1)

    def _take_answer(self, answer: ApiResponse) -> None:
        if answer.status == 200:
            self._mailbox.add(parse_orders(answer.data))
        elif answer.status in STALE_STATUSES:
            self._mailbox.add(Orders(StopOrder(f"The server refused this run ({answer.status}).", StopCode.STALE)))


def parse_orders(data: Mapping[str, Any]) -> Orders:
    """Parse a heartbeat's response. Invalid parts are left out."""
    interrupt, model = data.get("interrupt"), data.get("model")
    return Orders(
        stop=_parse_stop(data.get("stop")),
        messages=tuple(item for item in _list_objects(data.get("messages")) if item.get("uuid")),
        answers=tuple(item for item in _list_objects(data.get("answers")) if item.get("request")),
        interrupt=str(interrupt["uuid"]) if isinstance(interrupt, dict) and interrupt.get("uuid") else None,
        model=model if isinstance(model, dict) and model.get("uuid") else None,
    )


def _parse_stop(data: object) -> StopOrder | None:
    if not isinstance(data, dict):
        return None
    grace = data.get("grace_seconds")
    seconds = float(grace) if isinstance(grace, int | float) else None
    reason, code = data.get("reason") or "The run was stopped.", data.get("code") or StopCode.OPERATOR
    return StopOrder(str(reason), str(code), seconds)


def _list_objects(data: object) -> list[Mapping[str, Any]]:
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


@contextmanager
def _open_socket(place: Path) -> Iterator[socket.socket | None]:
    """Open the run's datagram socket, and remove it in the end. None when that fails, since the heartbeat is enough."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hints:
        hints.setblocking(False)
        is_bound = _bind(hints, place)
        try:
            yield hints if is_bound else None
        finally:
            if is_bound:
                place.unlink(missing_ok=True)


def _bind(hints: socket.socket, place: Path) -> bool:
    try:
        place.unlink(missing_ok=True)
        hints.bind(str(place))
    except OSError:
        return False
    return True
