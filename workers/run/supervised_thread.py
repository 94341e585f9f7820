"""A thread of a wrapper that is restarted when it fails. When it fails again and again, the run ends with a record."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Protocol

from protocol import StopCode, StopOrder

MAX_FAILURES = 5
"""After so many failures in a row a thread is given up."""
STABLE_SECONDS = 60.0
"""A thread that has worked for so long before a failure begins a new row."""
PAUSE_SECONDS = 0.5


class FailureLog(Protocol):
    """The place where the failures of threads are recorded."""

    def record_thread_failure(self, thread: str, count: int, text: str) -> None: ...
    def end_run(self, order: StopOrder) -> None: ...


class SupervisedThread(threading.Thread):
    """A daemon thread whose subclass does its work in `work`, which keeps the state that a restart needs.

    `failures` counts all failures. Each is recorded in `log` and printed with its traceback.
    """

    def __init__(self, name: str, log: FailureLog | None = None, pause: float = PAUSE_SECONDS) -> None:
        super().__init__(name=name, daemon=True)
        self.failures = 0
        self.is_given_up = False
        self._log = log
        self._pause_seconds = pause
        self._closing = threading.Event()

    def work(self) -> None:
        """Work until closed. An exception is a failure of the thread."""
        raise NotImplementedError

    def run(self) -> None:
        failures_in_row, is_working = 0, True
        while is_working and not self._closing.is_set():
            start_time = time.monotonic()
            try:
                self.work()
                is_working = False
            except Exception as error:
                is_stable = time.monotonic() - start_time > STABLE_SECONDS
                failures_in_row = 1 if is_stable else failures_in_row + 1
                is_working = self._handle_failure(error, failures_in_row)

    def _handle_failure(self, error: Exception, failures_in_row: int) -> bool:
        """Record a failure and wait a moment. False when the thread is given up, which ends the run."""
        self.failures += 1
        traceback.print_exception(error, file=sys.stderr)
        self.is_given_up = failures_in_row >= MAX_FAILURES
        consequence = "It is given up." if self.is_given_up else "It is restarted."
        text = f"The {self.name} thread of the wrapper failed ({type(error).__name__}: {error}). {consequence}"
        if self._log:
            with suppress(Exception):  # what broke the thread may break the record too
                self._log.record_thread_failure(self.name, self.failures, text)
            if self.is_given_up:
                self._log.end_run(StopOrder(text, StopCode.BROKEN))
        return not self.is_given_up and not self._closing.wait(self._pause_seconds)
