"""A thread of the scheduler that does one job at a time, as the job may hang and must not stop the scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable

from redaction import SHAPES


class JobThread:
    """Runs a job in a daemon thread. `label` begins the line that is logged for an error, which ends the job."""

    def __init__(self, name: str, label: str, log: Callable[[str], None]) -> None:
        self._name = name
        self._label = label
        self._log = log
        self._thread = threading.Thread()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self, job: Callable[[], object]) -> bool:
        """Start a job. False while another one runs."""
        if self.is_alive:
            return False
        self._thread = threading.Thread(target=self._run, args=(job,), name=self._name, daemon=True)
        self._thread.start()
        return True

    def join(self, seconds: float) -> None:
        """Wait for the running job, if any."""
        if self.is_alive:
            self._thread.join(seconds)

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except Exception as error:  # the thread has no other place to report it
            self._log(f"{self._label}: {type(error).__name__}: {SHAPES.clean_text(str(error))}")
