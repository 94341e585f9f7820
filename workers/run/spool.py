"""A run's events on its own disk, written before anything is sent.

`events.jsonl` grows by whole lines; full segments are renamed to `events.1.jsonl`, `events.2.jsonl`, ... A
line is what the server is sent:

    {"run_seq": 7, "ts": "2026-01-31T12:00:00.000000Z", "event_type": "agent.text", "payload": {...}}

`acked` holds the last run_seq which the server has accepted. At the size limit, accepted segments go first;
after that only essential kinds are kept, and a notice says so.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CURRENT = "events.jsonl"
ACKED = "acked"
SEGMENTS = 8
"""The limit is divided into so many segments: what is accepted can then make room piece by piece."""
NOTICE_BYTES = 500

BULKY = frozenset(
    "agent." + kind
    for kind in ("delta", "text", "thinking", "tool_call", "tool_result", "input", "task", "raw", "progress")
) | {"run.output"}
"""What is given up when the spool is full; everything else decides how the run ends and is kept."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the spool: the segment's number, counted from 1, and a byte offset in it."""

    segment: int = 1
    offset: int = 0


@dataclass(slots=True)
class _Segment:
    number: int
    size: int = 0
    last_seq: int = 0


class Spool:
    """The writing side, and the reading side for the sender's thread. Thread-safe."""

    def __init__(self, run_dir: Path, limit_bytes: int) -> None:
        self._folder = run_dir
        self._limit = limit_bytes
        self._grown = threading.Condition()
        self._segments = _found_segments(run_dir)
        self.last_seq = max((segment.last_seq for segment in self._segments), default=0)
        self.acknowledged = acknowledged(run_dir)
        self.lost = 0
        self._open()
        self._mend()

    def append(self, event_type: str, payload: Mapping[str, Any]) -> bool:
        """Write one event; False when it was not kept (no room, or the disk refused it)."""
        with self._grown:
            if self.lost and event_type in BULKY and self._has_room(NOTICE_BYTES, event_type):
                self._own_up()
            line = self._line(event_type, payload)
            kept = self._has_room(len(line), event_type) and self._write(line)
            if not kept:
                self._lose()
            return kept

    def own_up(self) -> None:
        """Say how many events were not kept, if any."""
        with self._grown:
            if self.lost:
                self._own_up()

    def wait_beyond(self, seq: int, timeout: float) -> bool:
        """Whether there are events after `seq`; waits for one up to `timeout` seconds."""
        with self._grown:
            return self._grown.wait_for(lambda: self.last_seq > seq, timeout)

    def batch(self, position: Position, lines: int, size: int) -> tuple[list[bytes], Position]:
        """Up to `lines` lines and `size` bytes from `position` on (or one long line), and the next place."""
        with self._grown:
            first, last = self._segments[0].number, self._segments[-1].number
            position = max(position, Position(first), key=lambda place: place.segment)
            taken, position = self._read(position, lines, size)
            while not taken and position.segment < last:
                taken, position = self._read(Position(position.segment + 1), lines, size)
            return taken, position

    def acknowledge(self, seq: int) -> None:
        """Remember that the server has every event up to `seq`."""
        with self._grown:
            self.acknowledged = max(self.acknowledged, seq)
            self._grown.notify_all()
            with suppress(OSError):  # a repeat costs little: the server ignores it
                draft = self._folder / f"{ACKED}.new"
                draft.write_text(str(self.acknowledged))
                draft.rename(self._folder / ACKED)

    def wait_acknowledged(self, seq: int, timeout: float) -> bool:
        """Whether the server has every event up to `seq`; waits for that up to `timeout` seconds."""
        with self._grown:
            return self._grown.wait_for(lambda: self.acknowledged >= seq, timeout)

    def close(self) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._folder / CURRENT, flags, 0o600)

    def _mend(self) -> None:
        """End a line that a crash has torn, so that the next one stands alone."""
        path = self._folder / CURRENT
        if path.read_bytes()[-1:] not in (b"", b"\n"):
            self._segments[-1].size += os.write(self._file, b"\n")

    def _line(self, event_type: str, payload: Mapping[str, Any]) -> bytes:
        event = {"run_seq": self.last_seq + 1, "ts": now(), "event_type": event_type, "payload": payload}
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"

    def _has_room(self, size: int, event_type: str) -> bool:
        """Whether a line fits. Essential kinds may go one segment beyond the limit."""
        while self._total() + size > self._limit and self._forget_accepted():
            pass
        spare = 0 if event_type in BULKY else self._limit // SEGMENTS
        return self._total() + size <= self._limit + spare

    def _total(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _forget_accepted(self) -> bool:
        """Remove the oldest full segment if the server has all of it."""
        oldest = self._segments[0]
        if len(self._segments) == 1 or oldest.last_seq > self.acknowledged:
            return False
        self._path(oldest.number).unlink(missing_ok=True)
        del self._segments[0]
        return True

    def _lose(self) -> None:
        self.lost += 1
        if self.lost == 1:
            self._notice("The spool is full: only essential events are kept until the server accepts some.")

    def _own_up(self) -> None:
        if self._notice(f"{self.lost} events were not kept while the spool was full."):
            self.lost = 0

    def _notice(self, text: str) -> bool:
        return self._write(self._line("agent.notice", {"text": text, "level": "warning"}))

    def _write(self, line: bytes) -> bool:
        """Append a whole line or nothing of it."""
        segment = self._segments[-1]
        try:
            written = os.write(self._file, line)
            if written < len(line):
                os.ftruncate(self._file, segment.size)
                raise OSError("the disk is full")
        except OSError:
            return False
        segment.size += len(line)
        self.last_seq = segment.last_seq = self.last_seq + 1
        if segment.size >= self._limit // SEGMENTS:
            self._rotate()
        self._grown.notify_all()
        return True

    def _rotate(self) -> None:
        os.close(self._file)
        full = self._segments[-1]
        (self._folder / CURRENT).rename(self._folder / f"events.{full.number}.jsonl")
        self._segments.append(_Segment(full.number + 1, last_seq=full.last_seq))
        self._open()

    def _path(self, number: int) -> Path:
        return self._folder / (CURRENT if number == self._segments[-1].number else f"events.{number}.jsonl")

    def _read(self, position: Position, lines: int, size: int) -> tuple[list[bytes], Position]:
        """Lines of one segment."""
        taken: list[bytes] = []
        offset = position.offset
        with self._path(position.segment).open("rb") as file:
            file.seek(offset)
            for line in file:
                if len(taken) >= lines or (taken and offset - position.offset + len(line) > size):
                    break
                taken.append(line)
                offset += len(line)
        return taken, Position(position.segment, offset)


def now() -> str:
    """This moment in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def acknowledged(run_dir: Path) -> int:
    """The last run_seq which the server is known to have accepted; 0 for none."""
    try:
        return int((run_dir / ACKED).read_text())
    except (OSError, ValueError):
        return 0


def replay(run_dir: Path, after: int = 0) -> Iterator[dict[str, Any]]:
    """The events with a run_seq above `after`, in order; a line torn by a crash is passed over."""
    for _, path in _paths(run_dir):
        with path.open("rb") as file:
            for line in file:
                event = _decoded(line)
                if event and event["run_seq"] > after:
                    yield event


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("run_seq"), int) else None


def _paths(run_dir: Path) -> list[tuple[int, Path]]:
    """The spool's files with their numbers, oldest first."""
    full = [(int(path.suffixes[0][1:]), path) for path in run_dir.glob("events.[0-9]*.jsonl")]
    last = max((number for number, _ in full), default=0)
    current = run_dir / CURRENT
    return [*sorted(full), *([(last + 1, current)] if current.exists() else [])]


def _found_segments(run_dir: Path) -> list[_Segment]:
    """What is on disk already; at least the one segment that is written to."""
    segments: list[_Segment] = []
    for number, path in _paths(run_dir):
        with path.open("rb") as file:
            seqs = [event["run_seq"] for line in file if (event := _decoded(line))]
        segments.append(_Segment(number, path.stat().st_size, max(seqs, default=0)))
    if not (run_dir / CURRENT).exists():
        segments.append(_Segment(segments[-1].number + 1 if segments else 1))
    return segments
