"""A watchdog that ends the process when a pass takes too long, as a thread cannot be killed but supervision restarts it."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h. supervisord and systemd restart the scheduler after any code."""
REPORT_SECONDS = 5.0
"""The time limit of the report, which needs the store, which may be why the pass hangs."""


@contextmanager
def limit_duration(seconds: float, report: Callable[[], object]) -> Iterator[None]:
    """End this process when the block takes longer, after a report and the stack of each thread."""
    timer = threading.Timer(seconds, _report_and_end, [report])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _report_and_end(report: Callable[[], object]) -> None:
    faulthandler.dump_traceback(sys.__stderr__ or 2)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    reporter.join(REPORT_SECONDS)
    end_process(EXIT_CODE)


end_process = os._exit
