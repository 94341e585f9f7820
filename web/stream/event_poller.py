"""The thread of a web process that polls the event log and publishes new events to the hub."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from dataclasses import dataclass

from database import ChangeWatcher, Engine, reading
from tickets.shared import events
from web.site.metrics import FAILING

from .hub import Hub

POLL_SECONDS = 0.02
IDLE_POLL_SECONDS = 0.5
"""Interval without subscribers, since polling every `POLL_SECONDS` would be most of the load of an idle process."""
ATTENTIVE_SECONDS = 5.0
"""Time after a start in which the short interval is used, since the caller is about to subscribe."""
LISTEN_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventPollerState:
    """State of the poller for the health report.

    `position` is the last event id read, `failures` a count since the start, `failing` the current error.
    """

    alive: bool
    position: int | None
    failures: int
    failing: str | None


class EventPoller:
    """Poller of the event log, beginning at the end of the log at the time of the first `start()`.

    Events are committed in the order of their ids, so one cursor is enough.
    """

    def __init__(self, engine: Engine, hub: Hub) -> None:
        self._engine = engine
        self._hub = hub
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self._waking = threading.Event()
        self._attentive_until = 0.0
        self._thread: threading.Thread | None = None
        self._position: int | None = None
        self._failures = 0
        self._failing: str | None = None
        self._backoff = POLL_SECONDS

    def start(self) -> None:
        """Start the thread if it is not running, so that every event committed after the return is published.

        It is called with each subscription and not at import, since threads do not survive a fork.
        """
        self._attentive_until = time.monotonic() + ATTENTIVE_SECONDS
        self._waking.set()
        with self._starting:
            if self._position is None:
                with reading(self._engine) as session:
                    self._position = events.get_last_id(session)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="tailer", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end without waiting for it. Safe in a signal handler."""
        self._stopping.set()
        self._waking.set()

    def state(self) -> EventPollerState:
        alive = self._thread is not None and self._thread.is_alive()
        return EventPollerState(alive, self._position, self._failures, self._failing)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with closing(ChangeWatcher(self._engine)) as watcher:
                    self._follow(watcher)
            except Exception as error:  # the database may be unavailable: retry later from the same position
                self._note_failure(error)
                self._stopping.wait(self._backoff)

    def _follow(self, watcher: ChangeWatcher) -> None:
        self._drain()
        while not self._stopping.is_set():
            if watcher.has_changed(LISTEN_SECONDS) or watcher.blocks:
                self._drain()
            else:
                self._pause()

    def _pause(self) -> None:
        """Wait for the next poll, or until `start()` is called for a new subscriber."""
        attentive = self._hub.has_subscribers or time.monotonic() < self._attentive_until
        self._waking.wait(POLL_SECONDS if attentive else IDLE_POLL_SECONDS)
        self._waking.clear()

    def _drain(self) -> None:
        """Publish the events committed since the last poll, a page at a time."""
        while not self._stopping.is_set():
            with reading(self._engine) as session:
                page = events.list_after(session, self._position or 0)
            if page:
                self._hub.publish(page)
                self._position = page[-1].id
            if len(page) < events.PAGE_SIZE:
                break
        self._failing, self._backoff = None, POLL_SECONDS
        FAILING.set(0)

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        FAILING.set(1)
        self._failing = f"{type(error).__name__}: {error}"
        self._backoff = min(self._backoff * 2, MAX_BACKOFF_SECONDS)
        log.warning("The event log cannot be read; trying again in %.1f s: %s", self._backoff, self._failing)
