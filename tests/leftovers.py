"""Cleanup of servers that a killed test run left behind, by the next run.

A test run writes a file `owner` into each folder that its servers use: its own temporary folder, and that of its
PostgreSQL. The file names the process that will end the servers. If that process is dead, all servers of the folder are
leftovers. The servers of concurrent test runs are never touched.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from workers.host import processes
from workers.host.processes import Identity

OWNER = "owner"
VARIABLE = "TESTS_FOLDER"
"""Environment variable with the folder of a test run, inherited by all processes that it starts."""
FIXED_ENVIRONMENT = {"tmux: server", "postgres"}
"""Servers that lack the environment variable, but have the folder in their command line."""
GRACE_SECONDS = 3.0


def own(folder: Path) -> None:
    """Make this process the owner of the servers that use `folder`."""
    (folder / OWNER).write_text(json.dumps(asdict(_this_process())))


def sweep(root: Path, *patterns: str) -> list[Path]:
    """End the servers of each matching folder whose owner is dead, and return these folders."""
    folders = [file.parent for pattern in patterns for file in root.glob(f"{pattern}/{OWNER}")]
    abandoned = [folder for folder in folders if (owner := _owner(folder)) and not processes.is_alive(owner)]
    for folder in abandoned:
        _end(_living_in(folder))
        (folder / OWNER).unlink(missing_ok=True)
    return abandoned


def _this_process() -> Identity:
    identity = processes.identify(os.getpid())
    assert identity is not None
    return identity


def _owner(folder: Path) -> Identity | None:
    try:
        return Identity(**json.loads((folder / OWNER).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _living_in(folder: Path) -> list[Identity]:
    """List the processes with the folder in their environment, and the servers with it in their command line."""
    name = re.compile(re.escape(os.fsencode(folder)) + rb"(?![\w-])")
    pids = [int(entry.name) for entry in processes.PROC.iterdir() if entry.name.isdigit()]
    identities = (processes.identify(pid) for pid in pids if pid != os.getpid() and _names(pid, name))
    return [identity for identity in identities if identity]


def _names(pid: int, name: re.Pattern[bytes]) -> bool:
    """Return whether a process belongs to the folder, unlike a shell that somebody opened in it."""
    place = processes.PROC / str(pid)
    with suppress(OSError):
        if (place / "comm").read_text().strip() in FIXED_ENVIRONMENT:
            return name.search((place / "cmdline").read_bytes()) is not None
        variables = (place / "environ").read_bytes().split(b"\0")
        return any(name.search(variable) for variable in variables if not variable.startswith((b"PWD=", b"OLDPWD=")))
    return False


def _end(servers: list[Identity]) -> None:
    for server in servers:
        processes.send_signal(server, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(map(processes.is_alive, servers)) and time.monotonic() < deadline:
        time.sleep(processes.POLL_SECONDS)
    for server in servers:
        processes.send_signal(server, signal.SIGKILL)
