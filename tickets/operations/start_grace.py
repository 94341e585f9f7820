"""The first minute of a process, or after a sleep or a stop, in which what is overdue is about to be done."""

from __future__ import annotations

import time

START_SECONDS = 60.0
SLEEP_SECONDS = 15.0
"""Difference between the two clocks that a sleep of the machine or a change of the time causes."""


class StartGrace:
    """Tells whether this process began moments ago, or was stopped, or the machine slept.

    `interval_seconds` is how often it is asked at least, so that a longer pause is one of the process itself.
    """

    def __init__(self, interval_seconds: float | None = None) -> None:
        self._interval = interval_seconds
        self.restart()

    def restart(self) -> None:
        """Begin the first minute again, as nothing could be done before."""
        self._start = self._last = time.monotonic()
        self._offset = time.time() - self._start

    def is_starting(self) -> bool:
        moment = time.monotonic()
        has_slept = abs(time.time() - moment - self._offset) > SLEEP_SECONDS
        was_stopped = self._interval is not None and moment - self._last > self._interval + SLEEP_SECONDS
        self._last = moment
        if has_slept or was_stopped:
            self.restart()
        return moment - self._start < START_SECONDS
