"""Orphans come home: a process of a run whose parent has died gets the run's own supervisor as its parent.

An agent may start something that forks twice, leaves its session and clears its environment; neither its session,
nor its marker, nor its parent then tells whose it is. Linux hands such an orphan to the nearest living ancestor that
is a "child subreaper" (prctl(2), PR_SET_CHILD_SUBREAPER), so that it stays in that ancestor's tree until it is dead.
Elsewhere nothing changes: what carries the run's marker is still found.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> bool:
    """Take in the orphans of this process's descendants from now on; False where the system knows no such thing."""
    try:
        from ctypes import CDLL

        return bool(CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def end_with_parent() -> None:
    """Have this process told to end (TERM) when the thread that started it is gone, even by KILL."""
    with suppress(ImportError, OSError, AttributeError):
        from ctypes import CDLL

        CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def reap_orphans(child_pid: int) -> None:
    """Reap adopted processes that have ended; the child `own` is left to whoever started it."""
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != child_pid:
            os.waitpid(ended.si_pid, 0)
