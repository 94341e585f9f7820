"""A job that the scheduler also starts between the runs of its task, as soon as there is something to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from jobs.job_context import JobContext
from jobs.task_recorder import JobResult
from workers.host.job_thread import JobThread


class EventJob:
    """Makes passes in a thread of its own, as one may take long. `tick` of a subclass looks for work.

    `work` makes and records a pass; while the task is disabled, none is made. `thread_name` and `log_label` name the thread,
    and begin the line that is logged for an error.
    """

    thread_name: ClassVar[str]
    log_label: ClassVar[str]

    def __init__(
        self,
        context: JobContext,
        work: Callable[[], JobResult],
        enabled: Callable[[], bool],
        log: Callable[[str], None],
    ) -> None:
        self._context = context
        self._make_pass = work
        self._enabled = enabled
        self._thread = JobThread(self.thread_name, self.log_label, log)

    def tick(self) -> bool:
        """Start a pass when there is work. True while there may be more to do soon."""
        raise NotImplementedError
