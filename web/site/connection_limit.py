"""Limit on the number of long-lived connections of one kind in a process, with slots that are released exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class ConnectionLimit:
    """A pool of at most `limit` connection slots.

    `tell` is called with the number of slots in use whenever it changes.
    """

    def __init__(self, limit: int, tell: Callable[[float], None] = lambda _: None) -> None:
        self.limit = limit
        self.taken = 0
        self._tell = tell
        self._lock = threading.Lock()

    def take(self) -> ConnectionSlot | None:
        """Take a slot, or return None when all are in use."""
        with self._lock:
            if self.taken >= self.limit:
                return None
            self.taken += 1
            self._tell(self.taken)
        return ConnectionSlot(self)

    def _give_back(self, slot: ConnectionSlot) -> None:
        with self._lock:
            if slot.held:
                slot.held = False
                self.taken -= 1
                self._tell(self.taken)


class ConnectionSlot:
    """A slot of a pool, which `release()` returns once, however often it is called."""

    def __init__(self, bucket: ConnectionLimit) -> None:
        self.held = True
        self._bucket = bucket

    def release(self) -> None:
        self._bucket._give_back(self)
