"""Servers that a killed run of the tests left behind, ended by the next run.

A run puts a file `owner` into each folder that its servers live in: its own temporary folder, and that of its
PostgreSQL. The file names the process that will end them. Where that process is dead, whatever lives in the folder is
left over. Several runs go on at a time, and their servers are never touched.
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
"""Names the folder of a run to all that it starts, its workers included."""
FIXED_ENVIRONMENT = {"tmux: server", "postgres"}
"""Servers whose environment tells nothing, but whose command line names the folder."""
GRACE_SECONDS = 3.0


def own(folder: Path) -> None:
    """Make this process the owner of what lives in `folder`."""
    (folder / OWNER).write_text(json.dumps(asdict(_this_process())))


def sweep(root: Path, *patterns: str) -> list[Path]:
    """End what lives in those of these folders whose owner is dead, and return them."""
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
    """The processes that were started with the folder in their environment, and the servers that name it."""
    name = re.compile(re.escape(os.fsencode(folder)) + rb"(?![\w-])")
    pids = [int(entry.name) for entry in processes.PROC.iterdir() if entry.name.isdigit()]
    found = (processes.identify(pid) for pid in pids if pid != os.getpid() and _names(pid, name))
    return [identity for identity in found if identity]


def _names(pid: int, name: re.Pattern[bytes]) -> bool:
    """Whether a process belongs to the folder; a shell that somebody opened in it does not."""
    place = processes.PROC / str(pid)
    with suppress(OSError):
        if (place / "comm").read_text().strip() in FIXED_ENVIRONMENT:
            return name.search((place / "cmdline").read_bytes()) is not None
        variables = (place / "environ").read_bytes().split(b"\0")
        return any(name.search(each) for each in variables if not each.startswith((b"PWD=", b"OLDPWD=")))
    return False


def _end(servers: list[Identity]) -> None:
    for server in servers:
        processes.send_signal(server, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(map(processes.is_alive, servers)) and time.monotonic() < deadline:
        time.sleep(processes.POLL_SECONDS)
    for server in servers:
        processes.send_signal(server, signal.SIGKILL)
