"""One scheduled program as a child process: time limit, output on disk, and a summary read back from its output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redaction import Redaction

TAIL_BYTES = 32_000
TERM_SECONDS = 10.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """The result of a child process. A negative `code` is a signal's number, `cut` says why we ended it.

    `tail` is redacted. `summary` is its last line of JSON, if any."""

    code: int
    cut: str | None
    tail: str
    summary: dict[str, Any] | None


def run(
    argv: Sequence[str],
    cwd: Path,
    timeout: float,
    log: Path,
    stopping: threading.Event,
    redaction: Redaction,
    environment: Mapping[str, str] | None = None,
) -> ProcessResult:
    """Run `argv` until it ends, `timeout` seconds have passed or `stopping` is set. `log` (0600) holds its output.

    The process has this one's environment unless `environment` is given. Raises OSError when it cannot be started.
    Processes that it has put into a session of their own, such as a tmux server, stay alive.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)
    end_reason = _await_exit(process, timeout, stopping)
    with log.open("rb") as file:
        tail = redaction.read_tail(file, TAIL_BYTES)
    return ProcessResult(process.returncode, end_reason, tail, _parse_summary(tail))


def _await_exit(process: subprocess.Popen[bytes], timeout: float, stopping: threading.Event) -> str | None:
    """Wait for the exit. Returns why the process was ended, None when it ended by itself."""
    left = timeout
    while not stopping.is_set() and left > 0:
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            return None
        left -= POLL_SECONDS
    process.terminate()
    try:
        process.wait(TERM_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return "the scheduler was stopped" if stopping.is_set() else f"it took longer than {timeout:g} seconds"


def _parse_summary(tail: str) -> dict[str, Any] | None:
    """Return the last line that is a JSON object with an outcome."""
    for line in reversed(tail.splitlines()):
        with suppress(ValueError):
            summary = json.loads(line)
            if isinstance(summary, dict) and "outcome" in summary:
                return summary
    return None
