"""The log of a run's pane: its last lines, or a stream that follows it and switches to a newer run."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from redaction import SHAPES, Redaction, read_run_secrets
from settings import Settings
from web.site.stream_response import Alarm

DEFAULT_LINES = 200
MAX_LINES = 5000
CHUNK_BYTES = 256 << 10
"""More than any line of a pane log, so that no secret is cut between two reads."""
MAX_TAIL_BYTES = 1 << 20
MAX_SPEC_BYTES = 4 << 20
SPEC_FILE = "spec.json"
POLL_SECONDS = 0.2
NEWER_RUN_SECONDS = 2.0
CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class PaneLog:
    """Path of a run's pane log, which may not exist yet."""

    run_id: int
    path: Path

    @classmethod
    def for_run(cls, settings: Settings, run_id: int, identifier: str) -> PaneLog:
        return cls(run_id, settings.run_path(run_id) / f"mc-{identifier}.tmux.log")

    def open(self) -> IO[bytes] | None:
        """Open the log for reading, or return None when it does not exist."""
        return open_regular_file(self.path)

    def read_end(self, lines: int) -> str | None:
        """Read the redacted last lines, or return None when the log does not exist."""
        file = self.open()
        if file is None:
            return None
        with file:
            return self.load_redaction().clean_text(read_last_lines(file, lines).decode(errors="replace"))

    def load_redaction(self) -> Redaction:
        """Load the secrets of the run, which older logs contain and which an agent may have written into this one."""
        file = open_regular_file(self.path.with_name(SPEC_FILE))
        if file is None:
            return SHAPES
        with file:
            try:
                return Redaction(read_run_secrets(file.read(MAX_SPEC_BYTES)))
            except ValueError:
                return SHAPES


def open_regular_file(path: Path) -> IO[bytes] | None:
    """Open a regular file for reading, or return None for anything else.

    An agent can write in its run directory, and could replace a log by a symbolic link, a pipe or a directory.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        folder = os.open(path.parent, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        handle = os.open(path.name, flags, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    return None


def read_last_lines(file: IO[bytes], count: int) -> bytes:
    """Read the last `count` whole lines, of at most the last megabyte."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_TAIL_BYTES))
    lines = file.read(MAX_TAIL_BYTES).splitlines(keepends=True)
    if size > MAX_TAIL_BYTES:
        del lines[0]
    return b"".join(lines[-count:])


class TailStream:
    """Stream source that follows the log of the newest run by whole lines. A cursor is `<run>-<byte offset>`."""

    def __init__(self, newest: Callable[[], PaneLog | None], cursor: str | None, lines: int) -> None:
        self._newest = newest
        self._lines = lines
        self._look_for_newer = Alarm(NEWER_RUN_SECONDS)
        self._file: IO[bytes] | None = None
        self._redaction = SHAPES
        self._offset = 0
        self._log = newest()
        self._resume(cursor or "")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, timeout: float) -> bytes:
        """Return the lines written within `timeout` seconds."""
        end = time.monotonic() + timeout
        while not (news := self._read()) and (left := end - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
        return news

    def idle(self) -> bytes:
        return b": still here\n" + self._id() + b"\n"

    def _resume(self, cursor: str) -> None:
        """Start at the client's cursor if it is valid for this log, else at the last `lines` lines."""
        match = CURSOR.fullmatch(cursor)
        if not self._open_newest():
            return
        assert self._file is not None and self._log is not None
        size = self._file.seek(0, os.SEEK_END)
        is_valid = match is not None and int(match[1]) == self._log.run_id and self._is_line_start(int(match[2]))
        self._offset = int(match[2]) if match and is_valid else size - len(read_last_lines(self._file, self._lines))

    def _is_line_start(self, offset: int) -> bool:
        """Return whether a line begins at an offset. From the middle of a line on, half a secret would be shown."""
        assert self._file is not None
        self._file.seek(max(0, offset - 1))
        return offset == 0 or self._file.read(1) == b"\n"

    def _open_newest(self) -> bool:
        """Open the log of the newest run if it has changed, and return whether a log is open."""
        if self._look_for_newer.due() and (log := self._newest()) != self._log:
            self.close()
            self._log, self._file, self._offset = log, None, 0
        if self._file is None and self._log is not None:
            self._file, self._redaction = self._log.open(), self._log.load_redaction()
        return self._file is not None

    def _read(self) -> bytes:
        if not self._open_newest():
            return b""
        assert self._file is not None
        self._file.seek(self._offset)
        data = self._file.read(CHUNK_BYTES)
        is_full = len(data) == CHUNK_BYTES
        whole = data[: data.rfind(b"\n") + 1] or data * is_full
        self._offset += len(whole)
        return self._tell(whole) if whole else b""

    def _tell(self, lines: bytes) -> bytes:
        assert self._log is not None
        text = self._redaction.clean_text(lines.decode(errors="replace"))
        data = json.dumps({"run": self._log.run_id, "text": text}, ensure_ascii=False)
        return self._id() + f"event: tail\ndata: {data}\n\n".encode()

    def _id(self) -> bytes:
        return f"id: {self._log.run_id}-{self._offset}\n".encode() if self._log else b""
