"""Start the channels of alerts when there are any, so that a scheduler without them does not load their code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from database import reading
from jobs.job_context import JobContext
from tickets.alerts import presence

if TYPE_CHECKING:
    from .alert_runner import AlertRunner


class AlertStarter:
    """Makes an `AlertRunner` when the first channel is set up, and passes each tick on to it."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._context = context
        self._log = log
        self._runner: AlertRunner | None = None

    @property
    def is_busy(self) -> bool:
        return self._runner is not None and self._runner.is_busy

    def tick(self, *, is_changed: bool) -> None:
        """Start the channels that have something to do. The store is read only when it has changed."""
        if self._runner is None and is_changed:
            self._runner = self._find_runner()
        if self._runner is not None:
            self._runner.tick(is_changed=is_changed)

    def stop(self) -> None:
        if self._runner is not None:
            self._runner.stop()

    def _find_runner(self) -> AlertRunner | None:
        with reading(self._context.engine) as session:
            if not presence.is_any_set_up(session):
                return None
        from .alert_runner import AlertRunner

        return AlertRunner(self._context, self._log)
