"""Places that long connections take in one process: so many of a kind, and each given back exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class ConnectionLimit:
    """One bucket of at most `limit` places; `tell` is given the number taken whenever it changes."""

    def __init__(self, limit: int, tell: Callable[[float], None] = lambda _: None) -> None:
        self.limit = limit
        self.taken = 0
        self._tell = tell
        self._lock = threading.Lock()

    def take(self) -> ConnectionSlot | None:
        """A place, or None when all are taken."""
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
    """A place in a bucket; `release()` may be called any number of times."""

    def __init__(self, bucket: ConnectionLimit) -> None:
        self.held = True
        self._bucket = bucket

    def release(self) -> None:
        self._bucket._give_back(self)
