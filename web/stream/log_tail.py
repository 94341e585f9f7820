"""The log of what a run's pane showed: its last lines, or a stream that follows it and moves on to a newer run."""

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

from settings import Settings
from web.site.stream_response import Alarm

DEFAULT_LINES = 200
MAX_LINES = 5000
CHUNK_BYTES = 64 << 10
MAX_TAIL_BYTES = 1 << 20
POLL_SECONDS = 0.2
NEWER_RUN_SECONDS = 2.0
CURSOR = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class PaneLog:
    """Where one run's pane log is, whether it exists yet or not."""

    run_id: int
    path: Path

    @classmethod
    def for_run(cls, settings: Settings, run_id: int, identifier: str) -> PaneLog:
        return cls(run_id, settings.run_path(run_id) / f"mc-{identifier}.tmux.log")

    def open(self) -> IO[bytes] | None:
        """The log for reading, or None when there is none."""
        return open_regular_file(self.path)


def open_regular_file(path: Path) -> IO[bytes] | None:
    """A file for reading, or None. An agent may write in its run directory, so a link, a pipe or a directory that was
    put in a log's place is none."""
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
    """The last `count` lines, at most the last megabyte."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_TAIL_BYTES))
    lines = file.read(MAX_TAIL_BYTES).splitlines(keepends=True)
    return b"".join(lines[-count:])


class TailStream:
    """Follows the newest run's log by whole lines. A cursor is `<run>-<byte offset>`."""

    def __init__(self, newest: Callable[[], PaneLog | None], cursor: str | None, lines: int) -> None:
        self._newest = newest
        self._lines = lines
        self._look_for_newer = Alarm(NEWER_RUN_SECONDS)
        self._file: IO[bytes] | None = None
        self._offset = 0
        self._log = newest()
        self._resume(cursor or "")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, timeout: float) -> bytes:
        """What was written within `timeout` seconds."""
        end = time.monotonic() + timeout
        while not (news := self._read()) and (left := end - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
        return news

    def idle(self) -> bytes:
        return b": still here\n" + self._id() + b"\n"

    def _resume(self, cursor: str) -> None:
        """Begin where the client's cursor is, if that is in this log, else some lines before the end."""
        match = CURSOR.fullmatch(cursor)
        if not self._open_newest():
            return
        assert self._file is not None and self._log is not None
        size = self._file.seek(0, os.SEEK_END)
        is_valid = match is not None and int(match[1]) == self._log.run_id and int(match[2]) <= size
        self._offset = int(match[2]) if match and is_valid else size - len(read_last_lines(self._file, self._lines))

    def _open_newest(self) -> bool:
        """Whether there is a log to read; moves on to a newer run's when one has begun."""
        if self._look_for_newer.due() and (log := self._newest()) != self._log:
            self.close()
            self._log, self._file, self._offset = log, None, 0
        if self._file is None and self._log is not None:
            self._file = self._log.open()
        return self._file is not None

    def _read(self) -> bytes:
        if not self._open_newest():
            return b""
        assert self._file is not None
        self._file.seek(self._offset)
        data = self._file.read(CHUNK_BYTES)
        whole = data if len(data) == CHUNK_BYTES else data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return self._tell(whole) if whole else b""

    def _tell(self, lines: bytes) -> bytes:
        assert self._log is not None
        data = json.dumps({"run": self._log.run_id, "text": lines.decode(errors="replace")}, ensure_ascii=False)
        return self._id() + f"event: tail\ndata: {data}\n\n".encode()

    def _id(self) -> bytes:
        return f"id: {self._log.run_id}-{self._offset}\n".encode() if self._log else b""
