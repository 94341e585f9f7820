"""Subreaper support: orphaned processes of a run are reparented to the run's own supervisor.

An agent may start something that forks twice, leaves its session and clears its environment. Then neither session
nor marker nor parent identifies its run. Linux reparents such an orphan to the nearest live ancestor that
is a "child subreaper" (prctl(2), PR_SET_CHILD_SUBREAPER), so that it stays in that ancestor's tree until it is dead.
On other systems only processes with the run's marker are found.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> bool:
    """Become the subreaper of this process's descendants. False when the system does not support it."""
    try:
        from ctypes import CDLL

        return bool(CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def end_with_parent() -> None:
    """Send this process a TERM when the thread that started it is gone, even by KILL."""
    with suppress(ImportError, OSError, AttributeError):
        from ctypes import CDLL

        CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def reap_orphans(child_pid: int) -> None:
    """Reap adopted processes that have ended, except `child_pid`, which its own parent code reaps."""
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != child_pid:
            os.waitpid(ended.si_pid, 0)
