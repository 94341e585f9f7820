"""The result of one health check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from models import HealthStatus

OWN_TASK_PREFIX = "task "
"""Beginning of the name of the check of a person's own task, which may be called like any other check."""
RANKS = {HealthStatus.OK: 0, HealthStatus.WARNING: 1, HealthStatus.FAILED: 2}


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Result of one check.

    `detail` is a fact, and a sentence where the status is not ok, then with a `remedy`: what a person can do.
    `since` is when the status began, if it is recorded. `host` is empty for a check of the store.
    """

    name: str
    status: HealthStatus
    detail: str
    remedy: str = ""
    since: datetime | None = None
    host: str = ""

    @property
    def ok(self) -> bool:
        return self.status is HealthStatus.OK

    @property
    def rank(self) -> int:
        """0 ok, 1 warning, 2 failed."""
        return RANKS[self.status]


def format_span(age: timedelta) -> str:
    """Format a duration: `45 s`, `12 min`, `5 h`."""
    seconds = int(age.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def format_count(count: int, noun: str) -> str:
    """Format a number with its noun: `1 ticket`, `3 tickets`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
