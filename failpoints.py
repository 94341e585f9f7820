"""Points at which a test kills the process that reaches them, to prove that what it leaves behind is settled.

They do nothing unless the environment variable `MISSION_CONTROL_FAILPOINTS` names a folder, which only tests and
`bin/soak` set. An empty file in that folder with the name of a point arms it: the first process to reach the point renames
the file to `<point>.reached` and ends as by `kill -9`.
"""

from __future__ import annotations

import enum
import os
import signal
from contextlib import suppress
from pathlib import Path

VARIABLE = "MISSION_CONTROL_FAILPOINTS"


class Failpoint(enum.StrEnum):
    """A moment between two steps that must both happen, or neither."""

    CLAIMED = "claimed"
    """The claim is committed, and nothing of the run exists on this machine."""
    STARTED = "started"
    """The wrapper runs in tmux, and its pane is not recorded."""
    MESSAGE_TAKEN = "message-taken"
    """The agent was given a message, and its receipt is not in the spool."""
    SPOOL_ROTATED = "spool-rotated"
    """A full segment is renamed, and the next one does not exist."""
    REPORTED = "reported"
    """The server has applied the report, and its answer is not recorded in the run's folder."""
    MERGED = "merged"
    """The base branch has the work, and the ticket is not completed."""
    ALERT_SENT = "alert-sent"
    """A channel has sent an alert, and that is not recorded."""
    COMMITTED = "committed"
    """A write over the API is committed, and its client has no answer."""


def kill_at(point: Failpoint) -> None:
    """Kill this process if the point is armed."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return
    with suppress(FileNotFoundError):
        Path(folder, point).rename(Path(folder, f"{point}.reached"))
        os.kill(os.getpid(), signal.SIGKILL)


def select_variables() -> dict[str, str]:
    """Select the variable for a process with an environment of its own. Empty outside of tests."""
    return {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}
