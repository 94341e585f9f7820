"""A tmux client on its own pseudo-terminal that shows a run's pane elsewhere and is always reaped."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

from workers.host.tmux import PANE_ID, SESSION_NAME, Pane, Tmux, TmuxError

CHUNK_BYTES = 64 << 10
LEAVE_SECONDS = 2.0
MAX_SIZE = 500
"""Maximum columns or lines of a client."""


def find_pane(tmux: Tmux, session: str, target: str | None) -> Pane | None:
    """Find the pane of a session in tmux. `target` is the pane's id or the session's name, as recorded at the start of the run.

    tmux counts pane ids from 0 again after a restart, so a pane id is valid only within its session.
    """
    try:
        panes = [pane for pane in tmux.list_panes() if pane.session == session]
    except TmuxError:
        return None
    if target and PANE_ID.fullmatch(target):
        panes = [pane for pane in panes if pane.id == target]
    return panes[0] if panes else None


def build_attach_argv(tmux: Tmux, session: str, *, write: bool, status: bool = False) -> list[str]:
    """Build the command line of a client that shows a session. Without `write` it changes nothing, not even the size."""
    if not SESSION_NAME.fullmatch(session):
        raise ValueError(f"not a session name: {session!r}")
    target = ("-t", f"={session}:")
    bar = ("set-option", "-q", *target, "status", "on" if status else "off", ";")
    return tmux.argv(*bar, "attach-session", *([] if write else ["-r"]), *target)


class ConsoleClient:
    """One tmux client. `close()` ends it in every case."""

    def __init__(self, tmux: Tmux, session: str, size: tuple[int, int], *, write: bool) -> None:
        """Start the client. `size` is (columns, lines). OSError when it cannot be started, `TmuxError` without tmux."""
        self.write_allowed = write
        self._terminal, inner = pty.openpty()
        try:
            self._set_size(*size)
            self._client = subprocess.Popen(
                build_attach_argv(tmux, session, write=write),
                stdin=inner,
                stdout=inner,
                stderr=inner,
                cwd=Path("/"),
                env=tmux.environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(self._terminal)
            raise
        finally:
            os.close(inner)

    @property
    def pid(self) -> int:
        return self._client.pid

    def read(self, timeout: float) -> bytes | None:
        """Read the screen output of up to `timeout` seconds. b"" when there is none, None at the end."""
        ready, _, _ = select.select([self._terminal], [], [], timeout)
        if not ready:
            return b""
        try:
            return os.read(self._terminal, CHUNK_BYTES) or None
        except OSError:  # the client has closed its side
            return None

    def type(self, data: bytes) -> None:
        """Type into the pane. PermissionError for a read-only client."""
        if not self.write_allowed:
            raise PermissionError("This console is read-only.")
        while data:
            data = data[os.write(self._terminal, data) :]

    def resize(self, columns: int, lines: int) -> None:
        self._set_size(columns, lines)
        self._client.send_signal(signal.SIGWINCH)  # it has no controlling terminal whose resize would send the signal

    def close(self) -> None:
        """Detach the client and wait for its exit (idempotent). The pane stays as it is."""
        if self._client.returncode is None:
            self._client.terminate()
            try:
                self._client.wait(LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                self._client.kill()
                self._client.wait()
            with suppress(OSError):
                os.close(self._terminal)

    def _set_size(self, columns: int, lines: int) -> None:
        limited = (max(1, min(number, MAX_SIZE)) for number in (lines, columns))
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *limited, 0, 0))
