"""A clock that a simulated day moves: every time that the domain reads in this process is the simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

import models
from tickets.schedule import cron

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""


class DayClock:
    """The simulated time. `advance` moves it; it never moves by itself."""

    def __init__(self, start: datetime = START) -> None:
        self.start = self.moment = start

    def advance(self, minutes: int = 1) -> None:
        self.moment += timedelta(minutes=minutes)

    @property
    def minute(self) -> int:
        """The minutes since the start of the day."""
        return int((self.moment - self.start).total_seconds() // 60)


@contextmanager
def simulate_clock(clock: DayClock) -> Iterator[None]:
    """Let `models.now`, the only clock of the domain, read this clock. Files of tasks are as old as its start."""

    class SimulatedDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.moment.astimezone(tz)

    real, read_added = models.datetime, cron.read_added  # type: ignore[attr-defined]
    models.datetime = SimulatedDatetime  # type: ignore[attr-defined]
    cron.read_added = lambda path: clock.start
    try:
        yield
    finally:
        models.datetime, cron.read_added = real, read_added  # type: ignore[attr-defined]
