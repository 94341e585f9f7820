"""Run a project's check or set-up command to its end and measure the result."""

from __future__ import annotations

import codecs
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redaction import Redaction, StreamRedaction
from workers.host import files, processes

TAIL_BYTES = 4096
CHUNK_BYTES = 1 << 16
MAX_LOG_BYTES = 64 * 1024 * 1024
POLL_SECONDS = 0.2
GRACE_SECONDS = 2.0
NOT_FOUND_EXIT_CODE = 127
"""A shell's exit code for a command it cannot find."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a command. `exit_code` is None when we killed it, `tail` is the end of its output."""

    argv: tuple[str, ...]
    exit_code: int | None
    seconds: float
    sha256: str
    tail: str
    timed_out: bool = False

    @property
    def has_passed(self) -> bool:
        return self.exit_code == 0

    def as_json(self) -> dict[str, Any]:
        return {
            "argv": list(self.argv),
            "exit_code": self.exit_code,
            "seconds": self.seconds,
            "sha256": self.sha256,
            "tail": self.tail,
            "timed_out": self.timed_out,
        }


def never_give_up() -> bool:
    return False


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    marker: str,
    log: Path,
    timeout: float,
    redaction: Redaction,
    give_up: Callable[[], bool] = never_give_up,
) -> CheckResult:
    """Run `argv` in a session of its own with all its output in the file `log` (0600).

    It is killed, with its whole process tree and all that carry `marker`, after `timeout` seconds, when `give_up`
    returns True, or when it has printed more than `MAX_LOG_BYTES`. Processes that it leaves running are
    killed too. Both the log and the `tail` of the result are redacted, and `sha256` is the log's.
    """
    began = time.monotonic()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        os.write(handle, f"{argv[0]} cannot be started: {error.strerror}\n".encode())
        return _build_result(argv, NOT_FOUND_EXIT_CODE, began, log, redaction)
    finally:
        os.close(handle)
    identity = processes.identify(process.pid) or processes.Identity(process.pid, "", "")
    late = began + timeout
    code = _await_exit(process, lambda: time.monotonic() > late or give_up() or log.stat().st_size > MAX_LOG_BYTES)
    timed_out = code is None and time.monotonic() > late
    processes.stop(identity, marker, GRACE_SECONDS if code is None else 0)
    if code is None:
        process.kill()
        process.wait()
    return _build_result(argv, code, began, log, redaction, timed_out)


def _await_exit(process: subprocess.Popen[bytes], is_over: Callable[[], bool]) -> int | None:
    """Wait for the exit code. None as soon as the command must be killed."""
    while not is_over():
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return None


def _build_result(
    argv: Sequence[str], code: int | None, began: float, log: Path, redaction: Redaction, timed_out: bool = False
) -> CheckResult:
    seconds = round(time.monotonic() - began, 3)
    with suppress(OSError):  # on a full disk the log stays as it is; its result counts
        _redact_log(log, redaction)
    with log.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        tail = redaction.read_tail(file, TAIL_BYTES)
    return CheckResult(tuple(argv), code, seconds, digest, tail, timed_out)


def _redact_log(log: Path, redaction: Redaction) -> None:
    """Replace a log by one without secrets and control characters."""
    draft = log.with_name(log.name + files.DRAFT_SUFFIX)
    draft.unlink(missing_ok=True)  # that of a killed process, or a link that leads elsewhere
    decoder, stream = codecs.getincrementaldecoder("utf-8")("replace"), StreamRedaction(redaction)
    try:
        with log.open("rb") as file, open(draft, "x", encoding="utf-8", opener=_open_private) as clean:
            while piece := file.read(CHUNK_BYTES):
                clean.write(stream.feed(decoder.decode(piece)))
            clean.write(stream.feed(decoder.decode(b"", final=True)) + stream.close())
        draft.replace(log)
    finally:
        draft.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
