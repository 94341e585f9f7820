"""Codex's app-server on a socket, spoken to over stdio: `codex_bridge <binary> <socket> [argument of app-server ...]`.

The wrapper talks to this program as it would to `codex app-server` on pipes, while a person may join the same
conversation through the socket. Each line of stdin becomes a message, each message a line of stdout. The server ends
with this program and this program with the server, in the same way: closed stdin is a clean end, a signal is passed
on. Where no socket comes up, this process turns into an app-server on pipes; nothing has been read until then.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from workers.host.websocket import BrokenSocket, WebSocketClient

STARTUP_SECONDS = 10.0
"""How long the server may take until its socket can be used."""
POLL_SECONDS = 0.02
GRACE_SECONDS = 1.0
"""From TERM to KILL: the turn has been interrupted before, so there is little to wait for."""
NO_SOCKET = "Codex opened no socket, so nobody can join this conversation beside the worker."


def main(argv: Sequence[str]) -> int:
    """Run the server until it or stdin ends; its exit code, 0 where stdin was closed."""
    binary, path, arguments = argv[0], Path(argv[1]), list(argv[2:])
    remove_socket(path)
    server = subprocess.Popen(
        [binary, "app-server", *arguments, "--listen", f"unix://{path}"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        process_group=0,
    )
    bridge = Bridge(server)
    signal.signal(signal.SIGTERM, lambda number, _: bridge.end(-number))
    try:
        connected = connect(path, server)
        if connected is None and bridge.code is None:
            fall_back([binary, "app-server", *arguments], server)
        if connected:
            bridge.relay(*connected)
        return bridge.settle()
    finally:
        remove_socket(path)


def remove_socket(path: Path) -> None:
    """Remove the socket, and what a link in its place leads to: Codex may keep the socket itself in its own folder."""
    target = path.resolve()
    if target.is_socket():
        target.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def connect(path: Path, server: subprocess.Popen[bytes]) -> tuple[WebSocketClient, list[str]] | None:
    """A WebSocket to the server, and the messages it has sent already; None when the server ends or stays deaf."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.settimeout(max(POLL_SECONDS, deadline - time.monotonic()))
            stream.connect(str(path))
            path.chmod(0o600)
            client = WebSocketClient(stream)
            messages = client.shake_hands()
            stream.settimeout(None)
            return client, messages
        except (OSError, BrokenSocket):
            stream.close()
            time.sleep(POLL_SECONDS)
    return None


def fall_back(argv: Sequence[str], server: subprocess.Popen[bytes]) -> None:
    """Become an app-server on pipes, and say so in its own words."""
    signal_group(server, signal.SIGKILL)
    server.wait()
    warning = {"method": "warning", "params": {"message": NO_SOCKET}}
    write_message(json.dumps(warning))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execvp(argv[0], list(argv))  # noqa: S606 - argv only


class Bridge:
    """One server with the conversation over its socket. `code` is how to end, None until an end was asked for."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self.code: int | None = None
        self._server = server

    def relay(self, client: WebSocketClient, messages: list[str]) -> None:
        """Pass messages on, both ways, until the server or the connection ends."""
        threading.Thread(target=self._read_stdin, args=(client,), daemon=True).start()
        server_fd = os.pidfd_open(self._server.pid)
        for message in messages:
            write_message(message)
        with suppress(OSError, BrokenSocket):
            while wait_readable(client, server_fd):
                for message in client.receive():
                    write_message(message)

    def end(self, code: int) -> None:
        """Have the server end; a negative code is a signal's number. The first call counts."""
        if self.code is None:
            self.code = code
            signal_group(self._server, signal.SIGTERM)
            timer = threading.Timer(GRACE_SECONDS, signal_group, (self._server, signal.SIGKILL))
            timer.daemon = True
            timer.start()

    def settle(self) -> int:
        """Wait for the server's end; the exit code to end with, or the same signal's death.

        A server that has only dropped the connection is given a moment to end by itself.
        """
        if self.code is None:
            try:
                return exit_with(self._server.wait(GRACE_SECONDS))
            except subprocess.TimeoutExpired:
                self.end(1)
        self._server.wait()
        return exit_with(self.code or 0)

    def _read_stdin(self, client: WebSocketClient) -> None:
        """Until stdin is closed. What cannot be sent is lost with the server, whose own end is told by `pump`."""
        for line in sys.stdin.buffer:
            if line.strip():
                with suppress(OSError, BrokenSocket):
                    client.send(line.decode("utf-8", "replace").rstrip("\r\n"))
        self.end(0)


def wait_readable(client: WebSocketClient, server_fd: int) -> bool:
    """Wait until there is something to read, or until the server has ended and there is nothing left."""
    ready, _, _ = select.select([client.fileno(), server_fd], [], [])
    return client.fileno() in ready


def write_message(message: str) -> None:
    """A message as one line of stdout; a line break can only stand between the parts of its JSON."""
    sys.stdout.buffer.write(message.replace("\r", " ").replace("\n", " ").encode() + b"\n")
    sys.stdout.buffer.flush()


def signal_group(server: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    if server.returncode is None:  # a group whose leader was reaped may be somebody else's by now
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signum)


def exit_with(code: int) -> int:
    """The exit code as it is; a negative one is a signal's number, and this process dies of it."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
