"""The agent's child process: a session of its own and non-blocking pipes, so that it can never block the wrapper."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from workers.host import processes

CHUNK_BYTES = 65536
MAX_DRAIN_BYTES = 4 * 1024 * 1024
"""More than any pipe of an unprivileged process holds."""
DRAIN_SECONDS = 2.0


class AgentProcess:
    """A started child process. Chunks of `stdout` and `stderr` go to the callbacks, and `ended` is called once at its exit.

    Raises OSError when the program cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        selector: selectors.BaseSelector,
        stdout: Callable[[bytes], object],
        stderr: Callable[[bytes], object],
        ended: Callable[[], object],
    ) -> None:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            list(argv), env=dict(env), cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self._process = process
        self.identity = processes.identify(self._process.pid) or processes.Identity(self._process.pid, "", "")
        self._selector = selector
        self._stdin, out, err = (cast(IO[bytes], pipe) for pipe in (process.stdin, process.stdout, process.stderr))
        self._unwritten: deque[bytes] = deque()
        self._closing = False
        self._streams = (self._stdin, out, err)
        self._readers = {out.fileno(): stdout, err.fileno(): stderr}
        for handle in (self._stdin.fileno(), *self._readers):
            os.set_blocking(handle, False)
        for handle in self._readers:
            selector.register(handle, selectors.EVENT_READ, lambda handle=handle: self._read(handle))
        self._exit = os.pidfd_open(self._process.pid)
        selector.register(self._exit, selectors.EVENT_READ, ended)

    @property
    def has_unwritten(self) -> bool:
        """True while bytes for the program's stdin are not written yet."""
        return bool(self._unwritten)

    def write(self, chunks: Iterable[bytes]) -> None:
        """Write chunks to the program's stdin, now or as soon as the pipe takes them."""
        if not self._stdin.closed and not self._closing:
            self._unwritten.extend(chunks)
            self._flush()

    def close_stdin(self) -> None:
        """Close the program's stdin once everything pending is written."""
        self._closing = True
        if not self._stdin.closed:
            self._flush()

    def send(self, signum: signal.Signals) -> None:
        processes.send_signal(self.identity, signum)

    def settle(self) -> int:
        """Read what is left in the pipes after the exit, close everything and return the exit code.

        A descendant that could not be killed may still write, so this never waits for the end of the pipes.
        """
        code = self._process.wait()
        deadline = time.monotonic() + DRAIN_SECONDS
        for handle in list(self._readers):
            self._drain(handle, deadline)
            self._close_reader(handle)
        self._unregister(self._stdin.fileno() if not self._stdin.closed else -1)
        self._unregister(self._exit)
        os.close(self._exit)
        for stream in self._streams:
            with suppress(OSError):
                stream.close()
        return code

    def _drain(self, handle: int, deadline: float) -> None:
        for _ in range(MAX_DRAIN_BYTES // CHUNK_BYTES):
            if time.monotonic() > deadline or not self._read(handle):
                return

    def _read(self, handle: int) -> bool:
        """Pass one chunk to its callback. False when there is none now, or at the end of the stream."""
        if handle not in self._readers:
            return False
        try:
            chunk = os.read(handle, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if chunk:
            self._readers[handle](chunk)
        else:
            self._close_reader(handle)
        return bool(chunk)

    def _close_reader(self, handle: int) -> None:
        self._readers.pop(handle, None)
        self._unregister(handle)

    def _unregister(self, handle: int) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(handle)

    def _flush(self) -> None:
        """Write as much as the pipe takes, and the rest when it is writable again."""
        handle = self._stdin.fileno()
        try:
            while self._unwritten:
                count = os.write(handle, self._unwritten[0])
                self._unwritten[0] = self._unwritten[0][count:]
                if not self._unwritten[0]:
                    self._unwritten.popleft()
        except BlockingIOError:
            if handle not in self._selector.get_map():
                self._selector.register(handle, selectors.EVENT_WRITE, self._flush)
            return
        except BrokenPipeError:
            self._unwritten.clear()
        self._unregister(handle)
        if self._closing:
            self._stdin.close()
