"""The signals that stop a program which runs until it is told to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


def call_on_stop(stop: Callable[[], object]) -> None:
    """Call `stop` when SIGTERM or SIGINT comes, in a thread of its own.

    A handler interrupts the main thread, which may hold the lock that `stop` needs, such as that of an event it waits for.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=stop, daemon=True).start())
