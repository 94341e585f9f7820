"""Watch of the file in which the coordination tools leave the agent's verdict.

It compares what the file is, not its time: the clock may be stepped, and a laptop may sleep, while a run works.
"""

from __future__ import annotations

from pathlib import Path

from .verdict import SIGNAL_FILE

FileState = tuple[int, int, int]


class SignalWatch:
    """Watches the signal of a run. Each signal replaces the file, so that it has another inode."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / SIGNAL_FILE
        self._state: FileState | None = None
        self._state_time = 0.0
        self._state_at_message: FileState | None = None

    def mark_message(self) -> None:
        """Remember that a message, which may change the agent's verdict, was delivered now."""
        self._state_at_message = self._read_state()

    @property
    def is_fresh(self) -> bool:
        """True when there is a signal from after the last message."""
        state = self._read_state()
        return state is not None and state != self._state_at_message

    def measure_age(self, now: float) -> float:
        """Return how long the present signal has been there, 0 for none. `now` is of a monotonic clock."""
        state = self._read_state()
        if state != self._state:
            self._state, self._state_time = state, now
        return now - self._state_time if state else 0.0

    def _read_state(self) -> FileState | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
