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
from typing import IO, cast

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
        _exchange(process, bytearray(stdin), {process.stdout: out, process.stderr: err}, deadline, keep)
        if max(len(out), len(err)) > keep:
            return CommandResult(None, bytes(out[:keep]), bytes(err[:keep]), truncated=True)
        return CommandResult(process.wait(_get_remaining_seconds(deadline)), bytes(out), bytes(err))
    except (TimeoutError, subprocess.TimeoutExpired):
        return CommandResult(None, bytes(out), bytes(err), timed_out=True)
    finally:
        _end(process)


def _exchange(
    process: subprocess.Popen[bytes],
    unsent: bytearray,
    outputs: Mapping[IO[bytes] | None, bytearray],
    deadline: float,
    keep: int,
) -> None:
    """Write stdin and read the outputs until all streams are closed or an output has more than `keep` bytes."""
    with selectors.DefaultSelector() as selector:
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, unsent)
        for stream, buffer in outputs.items():
            if stream:
                selector.register(stream, selectors.EVENT_READ, buffer)
        while selector.get_map() and max(map(len, outputs.values())) <= keep:
            ready = selector.select(_get_remaining_seconds(deadline))
            if not ready:
                raise TimeoutError
            for key, events in ready:
                has_more = (_write if events & selectors.EVENT_WRITE else _read)(key.fd, key.data)
                if not has_more:
                    selector.unregister(key.fileobj)
                    cast(IO[bytes], key.fileobj).close()


def _write(pipe: int, unsent: bytearray) -> bool:
    """Write some of the bytes and remove them from `unsent`. False when none are left or nobody reads them."""
    with suppress(BlockingIOError):
        try:
            del unsent[: os.write(pipe, unsent)]
        except BrokenPipeError:
            return False
    return bool(unsent)


def _read(pipe: int, buffer: bytearray) -> bool:
    """Read some bytes into the buffer. False at the end of the stream."""
    chunk = os.read(pipe, CHUNK_BYTES)
    buffer.extend(chunk)
    return bool(chunk)


def _get_remaining_seconds(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's group when it still runs, then reap it. Its pid cannot be recycled before that."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
