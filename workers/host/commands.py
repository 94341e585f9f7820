"""Run one short command to its end, without a shell, with limits on its time and output.

Longer-lived programs are started elsewhere: agents in `workers.run.wrapper`, checks in `workers.repository.checks`.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from redaction import omit_start

CHUNK_BYTES = 65536
MAX_OUTPUT_BYTES = 16 * 1024 * 1024
MAX_ERROR_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command.

    `code` is the exit code (negative: killed by that signal) and None when we killed the command,
    because it took too long (`timed_out`) or printed more than the limit (`truncated`).
    """

    code: int | None
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    truncated: bool = False

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """The end of stderr (else of stdout), for an error message."""
        output = self.stderr.strip() or self.stdout.strip()
        return omit_start(output.decode("utf-8", "replace"), MAX_ERROR_LENGTH)


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    keep: int = MAX_OUTPUT_BYTES,
) -> CommandResult:
    """Run `argv` for at most `timeout` seconds, and kill it when it prints more than `keep` bytes.

    The command gets a session of its own, so that killing it kills its children too. `stdin` must be small
    enough for a pipe's buffer (64 KB) or be read at once by the command. Raises OSError when it cannot be
    started.
    """
    process = subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + timeout
    out, err = bytearray(), bytearray()
    try:
        if process.stdin:
            with suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(stdin)
        _read({process.stdout: out, process.stderr: err}, deadline, keep)
        if max(len(out), len(err)) > keep:
            return CommandResult(None, bytes(out[:keep]), bytes(err[:keep]), truncated=True)
        return CommandResult(process.wait(_get_remaining_seconds(deadline)), bytes(out), bytes(err))
    except (TimeoutError, subprocess.TimeoutExpired):
        return CommandResult(None, bytes(out), bytes(err), timed_out=True)
    finally:
        _end(process)


def _read(streams: Mapping[IO[bytes] | None, bytearray], deadline: float, keep: int) -> None:
    """Fill the buffers until the streams close or one of them has more than `keep` bytes."""
    with selectors.DefaultSelector() as selector:
        for stream, buffer in streams.items():
            if stream:
                selector.register(stream, selectors.EVENT_READ, buffer)
        while selector.get_map():
            ready = selector.select(_get_remaining_seconds(deadline))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK_BYTES)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                if len(key.data) > keep:
                    return


def _get_remaining_seconds(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's group when it still runs, then reap it. Its pid cannot be recycled before that."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
