"""A clock that a simulated day moves: every time that the domain reads in this process is the simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from unittest.mock import patch

import models
from tickets.schedule import cron

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""


class DayClock:
    """The simulated time, from a minute of the day on. Only `advance` moves it."""

    def __init__(self, first_minute: int = 0) -> None:
        self.start = self.moment = START + timedelta(minutes=first_minute)

    def advance(self, minutes: int = 1) -> None:
        self.moment += timedelta(minutes=minutes)

    @property
    def minute(self) -> int:
        """The minutes since midnight."""
        return int((self.moment - START).total_seconds() // 60)


@contextmanager
def simulate_clock(clock: DayClock) -> Iterator[None]:
    """Let `models.now`, the only clock of the domain, read this clock.

    Files of tasks are as old as its start, and every task is due in the first second of its minute.
    """

    class SimulatedDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.moment.astimezone(tz)

    with (
        patch.object(models, "datetime", SimulatedDatetime),
        patch.object(cron, "read_added", lambda _: clock.start),
        patch.object(cron, "choose_offset", lambda _: timedelta()),
    ):
        yield
