"""A client that asks this machine's scheduler for a dispatch pass. It imports the standard library only, to start fast.

The socket is in the run folder, accessible to its owner only. Each message is one line of JSON:
    request    {"fingerprint": "…", "trigger": "operator", "resumed_only": false}
    answer     {"accepted": true, "seconds": 300} or {"refused": "why"}
    result     {"exit_code": 0, "summary": {…}}, when the pass has ended
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

SOCKET = "scheduler.sock"
ANSWER_TIMEOUT_SECONDS = 5.0
MAX_LINE_BYTES = 1 << 20


class PassRefused(Exception):
    """The scheduler does not make this pass, for the reason in the message."""


class LineChannel:
    """Messages over a connected socket, one JSON object per line. `receive` raises `OSError` or `ValueError`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def __enter__(self) -> LineChannel:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    def send(self, message: dict[str, Any]) -> None:
        self._connection.settimeout(ANSWER_TIMEOUT_SECONDS)
        self._connection.sendall(json.dumps(message, default=str).encode() + b"\n")

    def receive(self, seconds: float) -> dict[str, Any]:
        """Receive the next message, complete within `seconds`, however slowly it arrives."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            self._receive_more(deadline - time.monotonic())
        line, _, self._received = self._received.partition(b"\n")
        return _parse_message(line)

    def _receive_more(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError("no answer in time")
        self._connection.settimeout(seconds)
        chunk = self._connection.recv(1 << 16)
        if not chunk:
            raise ConnectionError("the connection was closed")
        self._received += chunk
        if len(self._received) > MAX_LINE_BYTES:
            raise ValueError(f"a line has more than {MAX_LINE_BYTES} bytes")


def _parse_message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("a message is nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("a message is not a JSON object")
    return message


@contextmanager
def socket_address(run_folder: Path) -> Iterator[str]:
    """Yield the socket's address via an open folder, as an address has at most 107 bytes but a home's path may have more."""
    folder = os.open(run_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)


def request_pass(home: Path, request: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """Request a pass. Returns exit code and summary, None when no scheduler runs. Raises `PassRefused`."""
    try:
        channel = _connect(home / "run")
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise PassRefused(f"The scheduler cannot be reached: {error}.") from error
    with channel:
        return send_request(channel, request)


def _connect(run_folder: Path) -> LineChannel:
    """Connect to the socket. `OSError` also when another user could have created it."""
    _require_private(run_folder / SOCKET)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_TIMEOUT_SECONDS)
        with socket_address(run_folder) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return LineChannel(connection)


def _require_private(path: Path) -> None:
    state = path.lstat()
    if not stat.S_ISSOCK(state.st_mode) or state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o077:
        raise PermissionError(f"{path} is not a socket that user {os.getuid()} alone may use: remove it")


def send_request(channel: LineChannel, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send the request and wait for its result. Raises `PassRefused`."""
    try:
        channel.send(request)
        answer = channel.receive(ANSWER_TIMEOUT_SECONDS)
        if answer.get("accepted") is not True:
            raise PassRefused(f"The scheduler did not make this pass: {answer.get('refused')}.")
        result = channel.receive(float(answer["seconds"]) + ANSWER_TIMEOUT_SECONDS)
        return int(result["exit_code"]), dict(result["summary"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PassRefused(f"The scheduler did not answer: {error}.") from error
