"""The first minute of a process, or after a sleep of the machine, in which what is overdue is about to be done."""

from __future__ import annotations

import time

START_SECONDS = 60.0
SLEEP_SECONDS = 15.0
"""Difference between the two clocks that a sleep of the machine or a change of the time causes."""


class StartGrace:
    """Tells whether this process began moments ago, or the machine woke from sleep, by its two clocks."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._offset = time.time() - self._start

    def is_starting(self) -> bool:
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > SLEEP_SECONDS:
            self._start, self._offset = time.monotonic(), offset
        return time.monotonic() - self._start < START_SECONDS
