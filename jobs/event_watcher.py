"""The reaction to events within a second: a pass when a ticket may have become runnable, and one each minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine

from database import ChangeWatcher, reading
from models import Trigger
from tickets.dispatch import dispatch_plan
from tickets.shared import events

from .task_recorder import JobResult

POLL_SECONDS = 0.25
PASS_INTERVAL_SECONDS = 60.0
DEBOUNCE_SECONDS = 0.05
"""A wait for the end of a burst of changes, so that it makes one pass."""


class ChangeDetector:
    """Detects commits, so that a caller that polls each second does not query an unchanged store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watcher: ChangeWatcher | None = None
        self._due = 0.0

    def has_changed(self) -> bool:
        """Return True when the store may have changed since the last call, at least once a minute. Raises the store's errors."""
        if self._watcher is None:
            self._watcher = ChangeWatcher(self._engine)
        try:
            is_changed = self._watcher.has_changed(0)
        except Exception:
            self.close()  # a broken connection is replaced at the next call
            raise
        if not is_changed and time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + PASS_INTERVAL_SECONDS
        return True

    def close(self) -> None:
        if self._watcher:
            self._watcher.close()
        self._watcher = None
        self._due = 0.0


class EventWatcher:
    """Calls `work(trigger)` until stopped. `interval_seconds` is None when another component runs the timer.

    A result with `again` is repeated in a moment, as there may be no further event.
    """

    def __init__(self, engine: Engine, work: Callable[[Trigger], JobResult], interval_seconds: float | None) -> None:
        self._engine = engine
        self._work = work
        self._full_seconds = interval_seconds
        self._stopping = threading.Event()
        self._cursor = 0
        self._owed = False

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Run until `stop` is called from another thread. After an error it may be run again."""
        watcher = ChangeWatcher(self._engine)
        with reading(self._engine) as session:
            last_id = events.get_last_id(session)
        self._owed |= self._cursor < last_id  # events that came while nobody watched the store
        self._cursor = last_id
        due = time.monotonic() if self._full_seconds is not None else float("inf")
        try:
            while not self._stopping.is_set():
                if time.monotonic() >= due:
                    due = time.monotonic() + (self._full_seconds or 0)
                    self._work(Trigger.TIMER)
                if self._has_work(watcher) or self._owed:
                    self._stopping.wait(DEBOUNCE_SECONDS)
                    self._owed = self._work(Trigger.EVENT).again
        finally:
            watcher.close()

    def _has_work(self, watcher: ChangeWatcher) -> bool:
        if not watcher.has_changed(POLL_SECONDS):
            if not watcher.blocks:
                self._stopping.wait(POLL_SECONDS)
            return False
        with reading(self._engine) as session:
            self._cursor, has_work = dispatch_plan.check_for_work(session, self._cursor)
        return has_work
