"""The spool: a run's events on its own disk, written before anything is sent.

`events.jsonl` grows by whole lines. Full segments are renamed to `events.1.jsonl`, `events.2.jsonl`, ... The
server receives the same lines:

    {"run_seq": 7, "ts": "2026-01-31T12:00:00.000000Z", "event_type": "agent.text", "payload": {...}}

`acked` holds the last run_seq which the server has accepted. At the size limit, accepted segments are removed first;
after that only essential kinds are written, with a notice.
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

import failpoints
from failpoints import Failpoint
from protocol import EventType
from workers.host import files

CURRENT_FILE = "events.jsonl"
ACKED_FILE = "acked"
SEGMENT_COUNT = 8
"""The number of segments the limit is divided into, so that accepted events can be removed piece by piece."""
NOTICE_BYTES = 500

BULKY_TYPES: frozenset[str] = frozenset(
    {
        EventType.DELTA,
        EventType.TEXT,
        EventType.THINKING,
        EventType.TOOL_CALL,
        EventType.TOOL_RESULT,
        EventType.INPUT,
        EventType.TASK,
        EventType.RAW,
        EventType.PROGRESS,
        EventType.RUN_OUTPUT,
    }
)
"""Types that are dropped when the spool is full. All others decide how the run ends."""


@dataclass(frozen=True, slots=True)
class SpoolPosition:
    """A read cursor: the segment's number, counted from 1, and a byte offset in it."""

    segment: int = 1
    offset: int = 0


@dataclass(slots=True)
class _Segment:
    number: int
    size: int = 0
    last_seq: int = 0


class Spool:
    """The writer of the spool, and the reader for the sender's thread. Thread-safe."""

    def __init__(self, run_dir: Path, limit_bytes: int) -> None:
        self._folder = run_dir
        self._limit = limit_bytes
        self._grown = threading.Condition()
        self._segments = _load_segments(run_dir)
        self.last_seq = max((segment.last_seq for segment in self._segments), default=0)
        self.acknowledged = read_acknowledged(run_dir)
        self.lost = 0
        self._file = self._open()
        self._end_torn_line()

    def append(self, event_type: str, payload: Mapping[str, Any]) -> bool:
        """Write one event. False when it was dropped (no space, or a disk error)."""
        with self._grown:
            if self.lost and event_type in BULKY_TYPES and self._has_room(NOTICE_BYTES, event_type):
                self._report_losses()
            line = self._format_line(event_type, payload)
            is_written = self._has_room(len(line), event_type) and self._write(line)
            if not is_written:
                self._count_loss()
            return is_written

    def report_losses(self) -> None:
        """Write a notice with the number of dropped events, if any."""
        with self._grown:
            if self.lost:
                self._report_losses()

    def wait_for_events(self, seq: int, timeout: float) -> bool:
        """Wait up to `timeout` seconds for an event after `seq`, and return True when there is one."""
        with self._grown:
            return self._grown.wait_for(lambda: self.last_seq > seq, timeout)

    def batch(self, position: SpoolPosition, lines: int, size: int) -> tuple[list[bytes], SpoolPosition]:
        """Return up to `lines` lines and `size` bytes from `position` on (or one long line), and the next position."""
        with self._grown:
            first, last = self._segments[0].number, self._segments[-1].number
            position = max(position, SpoolPosition(first), key=lambda place: place.segment)
            batch_lines, position = self._read(position, lines, size)
            while not batch_lines and position.segment < last:
                batch_lines, position = self._read(SpoolPosition(position.segment + 1), lines, size)
            return batch_lines, position

    def acknowledge(self, seq: int) -> None:
        """Record that the server has every event up to `seq`."""
        with self._grown:
            self.acknowledged = max(self.acknowledged, seq)
            self._grown.notify_all()
            with suppress(OSError):  # a resend costs little, as the server ignores duplicates
                self._write_acknowledged()

    def _write_acknowledged(self) -> None:
        draft = self._folder / f"{ACKED_FILE}{files.DRAFT_SUFFIX}"
        try:
            draft.write_text(str(self.acknowledged))
            draft.rename(self._folder / ACKED_FILE)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def wait_acknowledged(self, seq: int, timeout: float) -> bool:
        """Wait up to `timeout` seconds, and return True when the server has every event up to `seq`."""
        with self._grown:
            return self._grown.wait_for(lambda: self.acknowledged >= seq, timeout)

    def close(self) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def _open(self, name: str = CURRENT_FILE) -> int:
        return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _end_torn_line(self) -> None:
        """Terminate a line that a crash has cut off, so that the next one is intact."""
        path = self._folder / CURRENT_FILE
        if path.read_bytes()[-1:] not in (b"", b"\n"):
            self._segments[-1].size += os.write(self._file, b"\n")

    def _format_line(self, event_type: str, payload: Mapping[str, Any]) -> bytes:
        event = {"run_seq": self.last_seq + 1, "ts": format_now(), "event_type": event_type, "payload": payload}
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"

    def _has_room(self, size: int, event_type: str) -> bool:
        """True when a line fits. Essential types may exceed the limit by one segment."""
        while self._measure_size() + size > self._limit and self._remove_accepted():
            pass
        spare = 0 if event_type in BULKY_TYPES else self._limit // SEGMENT_COUNT
        return self._measure_size() + size <= self._limit + spare

    def _measure_size(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _remove_accepted(self) -> bool:
        """Remove the oldest full segment if the server has all of it."""
        oldest = self._segments[0]
        if len(self._segments) == 1 or oldest.last_seq > self.acknowledged:
            return False
        self._build_path(oldest.number).unlink(missing_ok=True)
        del self._segments[0]
        return True

    def _count_loss(self) -> None:
        self.lost += 1
        if self.lost == 1:
            self._write_notice("The spool is full: only essential events are kept until the server accepts some.")

    def _report_losses(self) -> None:
        if self._write_notice(f"{self.lost} events were not kept while the spool was full."):
            self.lost = 0

    def _write_notice(self, text: str) -> bool:
        return self._write(self._format_line(EventType.NOTICE.value, {"text": text, "level": "warning"}))

    def _write(self, line: bytes) -> bool:
        """Append a whole line, or nothing of it."""
        segment = self._segments[-1]
        try:
            count = os.write(self._file, line)
            if count < len(line):
                os.ftruncate(self._file, segment.size)
                raise OSError("the disk is full")
        except OSError:
            return False
        segment.size += len(line)
        self.last_seq = segment.last_seq = self.last_seq + 1
        if segment.size >= self._limit // SEGMENT_COUNT:
            with suppress(OSError):  # on a full disk the segment grows, and the next event tries again
                self._rotate()
        self._grown.notify_all()
        return True

    def _rotate(self) -> None:
        """Begin a new segment. OSError leaves everything as it was."""
        full, current = self._segments[-1], self._folder / CURRENT_FILE
        numbered = self._folder / f"events.{full.number}.jsonl"
        draft = self._folder / f"{CURRENT_FILE}{files.DRAFT_SUFFIX}"
        new_file = self._open(draft.name)
        try:
            current.rename(numbered)
            failpoints.kill_at(Failpoint.SPOOL_ROTATED)
            draft.rename(current)
        except OSError:
            os.close(new_file)
            if numbered.exists():
                numbered.rename(current)
            raise
        os.close(self._file)
        self._file = new_file
        self._segments.append(_Segment(full.number + 1, last_seq=full.last_seq))

    def _build_path(self, number: int) -> Path:
        return self._folder / (CURRENT_FILE if number == self._segments[-1].number else f"events.{number}.jsonl")

    def _read(self, position: SpoolPosition, lines: int, size: int) -> tuple[list[bytes], SpoolPosition]:
        """Read lines of one segment."""
        batch_lines: list[bytes] = []
        offset = position.offset
        with self._build_path(position.segment).open("rb") as file:
            file.seek(offset)
            for line in file:
                if len(batch_lines) >= lines or (batch_lines and offset - position.offset + len(line) > size):
                    break
                batch_lines.append(line)
                offset += len(line)
        return batch_lines, SpoolPosition(position.segment, offset)


def format_now() -> str:
    """Return the current time in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_acknowledged(run_dir: Path) -> int:
    """Read the last run_seq which the server has acknowledged, 0 for none."""
    try:
        return int((run_dir / ACKED_FILE).read_text())
    except (OSError, ValueError):
        return 0


def replay_events(run_dir: Path, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the events with a run_seq above `after`, in order. A line cut off by a crash is skipped."""
    for _, path in _list_files(run_dir):
        with path.open("rb") as file:
            for line in file:
                event = _parse_event(line)
                if event and event["run_seq"] > after:
                    yield event


def _parse_event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("run_seq"), int) else None


def _list_files(run_dir: Path) -> list[tuple[int, Path]]:
    """List the spool's files with their numbers, oldest first."""
    full = [(int(path.suffixes[0][1:]), path) for path in run_dir.glob("events.[0-9]*.jsonl")]
    last = max((number for number, _ in full), default=0)
    current = run_dir / CURRENT_FILE
    return [*sorted(full), *([(last + 1, current)] if current.exists() else [])]


def _load_segments(run_dir: Path) -> list[_Segment]:
    """Load the segments on disk, with at least the one that is written to."""
    segments: list[_Segment] = []
    for number, path in _list_files(run_dir):
        with path.open("rb") as file:
            seqs = [event["run_seq"] for line in file if (event := _parse_event(line))]
        segments.append(_Segment(number, path.stat().st_size, max(seqs, default=0)))
    if not (run_dir / CURRENT_FILE).exists():
        segments.append(_Segment(segments[-1].number + 1 if segments else 1))
    return segments
