"""The one thread of a web process that reads the event log and hands it to the hub."""

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
"""While nobody follows: to look fifty times a second would be most of what an idle process does."""
ATTENTIVE_SECONDS = 5.0
"""After a start, as whoever calls it subscribes in a moment."""
LISTEN_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventPollerState:
    """For health: `position` is the last id read, `failures` counts since the start, `failing` is the present error."""

    alive: bool
    position: int | None
    failures: int
    failing: str | None


class EventPoller:
    """Follows the log from where it ended at the first `start()`. Ids commit in order, so one cursor is enough."""

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
        """Be running when this returns: every event committed from now on is published. Threads do not survive a
        fork, so it is called with each subscription and not at import."""
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
        """End the thread soon; safe in a signal handler."""
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
            except Exception as error:  # the database may be away: the position is kept and the rest follows later
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
        """Wait until it is time to look again, or until somebody begins to follow."""
        attentive = self._hub.has_subscribers or time.monotonic() < self._attentive_until
        self._waking.wait(POLL_SECONDS if attentive else IDLE_POLL_SECONDS)
        self._waking.clear()

    def _drain(self) -> None:
        """Publish what was committed since the last time, a page at a time."""
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
