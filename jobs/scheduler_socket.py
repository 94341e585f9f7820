"""The scheduler's socket, on which `mc_pickup.py` requests a pass (see `scheduler_client` for the messages)."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import Trigger

from .scheduler_client import ANSWER_TIMEOUT_SECONDS, SOCKET, LineChannel, socket_address
from .task_recorder import JobResult, get_exit_code

MAX_REQUESTS = 4
"""The maximum of concurrent requests. Further clients make the pass themselves."""
STOP_TIMEOUT_SECONDS = 4.0


class RequestRefused(Exception):
    """This request is not served, for the reason in the message."""


@dataclass(frozen=True, slots=True)
class PassRequest:
    """A request for one pass, only of tickets that resume when `resumed_only` is True."""

    trigger: Trigger
    resumed_only: bool


class PassServer:
    """Serves requests for a dispatch pass until it is stopped.

    `fingerprint` is that of this process's settings and code, `make_pass` does the work and `seconds` is how
    long that may take.
    """

    def __init__(
        self,
        run_folder: Path,
        fingerprint: str,
        make_pass: Callable[[PassRequest], JobResult],
        seconds: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        self._run_folder = run_folder
        self._fingerprint = fingerprint
        self._make_pass = make_pass
        self._seconds = seconds
        self._log = log
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._places = threading.BoundedSemaphore(MAX_REQUESTS)
        self._handlers: set[threading.Thread] = set()

    def start(self) -> None:
        """Listen in a thread. The caller holds the scheduler's lock, so an existing socket belongs to a dead process."""
        self._path.unlink(missing_ok=True)
        with socket_address(self._run_folder) as address:
            self._listener.bind(address)
        self._path.chmod(0o600)
        self._listener.listen()
        threading.Thread(target=self._accept_all, name="requests", daemon=True).start()

    def stop(self) -> None:
        """Accept no more requests, and wait for the running ones."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
        self._listener.close()
        for handler in list(self._handlers):
            handler.join(STOP_TIMEOUT_SECONDS)

    @property
    def _path(self) -> Path:
        return self._run_folder / SOCKET

    def _accept_all(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed by stop()
                return
            self._handle_in_thread(connection)

    def _handle_in_thread(self, connection: socket.socket) -> None:
        if not self._places.acquire(blocking=False):
            connection.close()
            return
        handler = threading.Thread(target=self._handle, args=(connection,), name="request", daemon=True)
        self._handlers.add(handler)
        handler.start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            with LineChannel(connection) as channel:
                self._answer(channel, connection)
        except (OSError, ValueError) as error:  # the client is gone or sent an invalid message
            self._log(f"a request for a pass was cut off: {error}")
        except Exception as error:  # the thread has no other place to report it
            self._log(f"a request for a pass: {type(error).__name__}: {error}")
        finally:
            self._places.release()
            self._handlers.discard(threading.current_thread())

    def _answer(self, channel: LineChannel, connection: socket.socket) -> None:
        try:
            message = channel.receive(ANSWER_TIMEOUT_SECONDS)  # first, so that a refused client can read its answer
            _require_same_user(connection)
            request = self._parse_request(message)
        except RequestRefused as error:
            channel.send({"refused": str(error)})
            return
        channel.send({"accepted": True, "seconds": self._seconds()})
        result = self._make_pass(request)
        channel.send({"exit_code": get_exit_code(result), "summary": result.summary})

    def _parse_request(self, message: dict[str, Any]) -> PassRequest:
        if message.keys() != {"fingerprint", "trigger", "resumed_only"}:
            raise RequestRefused("a request has exactly the keys fingerprint, trigger and resumed_only")
        if message["fingerprint"] != self._fingerprint:
            raise RequestRefused("it runs with other settings or another version of the code")
        if message["trigger"] not in [member.value for member in Trigger] or type(message["resumed_only"]) is not bool:
            raise RequestRefused("trigger or resumed_only has a value that it cannot have")
        return PassRequest(Trigger(message["trigger"]), message["resumed_only"])


def _require_same_user(connection: socket.socket) -> None:
    """Refuse other users, in case the folder's mode, which excludes them, was changed."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    if user != os.getuid():
        raise RequestRefused("only the scheduler's own user may request a pass")
