"""Processes with a proven identity: pid, start time and boot id, never the pid alone.

Everything here reads Linux's /proc. Without it the functions are conservative: `started` and `boot_id` are
empty, a pid counts as alive for as long as any process has it, nothing can be found by its marker, and
`stop` signals nothing and reports the process as left over, so that no replacement is started for a process
whose death is not proven.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")
DEAD_STATES = frozenset("ZXx")
"""States of a process that will never run again: zombie, dead."""

POLL_SECONDS = 0.02
KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of one process. `started` is field 22 of /proc/<pid>/stat (clock ticks since boot, as text)."""

    pid: int
    started: str
    boot_id: str


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    parent: int
    started: str


@cache
def read_boot_id() -> str:
    """Read the kernel's id of this boot. Empty when there is none."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identify(pid: int) -> Identity | None:
    """Return the identity of the live process `pid`. None when there is none (zombies count as dead)."""
    stat = _read_stat(pid)
    if stat is not None:
        return None if stat.state in DEAD_STATES else Identity(pid, stat.started, read_boot_id())
    return Identity(pid, "", "") if not _has_proc() and _has_process(pid) else None


def is_alive(identity: Identity) -> bool:
    """True while this very process is alive: no zombie, and no other process with a recycled pid."""
    return identify(identity.pid) == identity


def find_by_marker(marker: str) -> list[Identity]:
    """Find this user's live processes whose environment was started with `marker`, such as `MC_RUN_ID=12`.

    This finds children that left the tree by forking twice and calling setsid, since they inherit the environment.
    """
    entry = marker.encode()
    return _identify_all(pid for pid in _list_pids() if entry in _read_environment(pid))


def read_command(pid: int) -> list[str]:
    """Read the command line of a process, empty when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_text("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return []


def find_by_open_files(paths: Iterable[Path]) -> list[Identity]:
    """Find other live processes of this user that have one of these files open."""
    names = {str(path) for path in paths}
    return _identify_all(pid for pid in _list_pids() if pid != os.getpid() and names & set(_list_open_files(pid)))


def list_tree(pid: int) -> list[Identity]:
    """List the live process `pid` and all its live descendants, parents first."""
    children: dict[int, list[int]] = {}
    for candidate in _list_pids():
        if stat := _read_stat(candidate):
            children.setdefault(stat.parent, []).append(candidate)
    pids = [pid]
    for parent in pids:
        pids.extend(children.get(parent, []))
    return _identify_all(pids)


def send_signal(identity: Identity, signum: signal.Signals) -> bool:
    """Signal exactly this process. False when it is gone. The pidfd prevents a race between check and signal."""
    if not identity.started:
        return False
    try:
        handle = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(handle, signum)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def stop(identity: Identity, marker: str, grace_seconds: float, adopter: int | None = None) -> list[Identity]:
    """Stop a process and everything it left behind. Returns the survivors (empty: proven dead).

    1. TERM to the process itself, which has `grace_seconds` to stop its own children and save its data.
    2. KILL to everything still alive: the process, its tree before and after, all that carry `marker`, and all
       descendants of `adopter`, the subreaper of the run's orphans (see `workers.host.subreaper`).

    The caller and its ancestors are never signalled, though a wrapper carries its own run's marker. Also works
    for a process that is already dead: what it left behind is found by the marker.
    """
    ancestors = _list_ancestors(os.getpid())
    family = _find_family({identity} | _list_descendants(adopter), marker, ancestors)
    send_signal(identity, signal.SIGTERM)
    _await_death({identity}, grace_seconds)
    deadline = time.monotonic() + KILL_SECONDS
    while living := _filter_living(family := _find_family(family | _list_descendants(adopter), marker, ancestors)):
        if time.monotonic() > deadline:
            break
        for process in living:
            send_signal(process, signal.SIGKILL)
        _await_death(living, POLL_SECONDS)
    return sorted(living, key=lambda process: process.pid)


def kill_descendants(pid: int) -> None:
    """Kill all descendants of `pid`, including new ones. Gives up after `KILL_SECONDS`."""
    deadline = time.monotonic() + KILL_SECONDS
    while (living := _list_descendants(pid)) and time.monotonic() < deadline:
        for process in living:
            send_signal(process, signal.SIGKILL)
        _await_death(living, POLL_SECONDS)


def _list_descendants(pid: int | None) -> set[Identity]:
    return {process for process in list_tree(pid) if process.pid != pid} if pid is not None else set()


def _find_family(members: set[Identity], marker: str, excluded: set[int]) -> set[Identity]:
    """Return `members` with the descendants of the live ones and all carriers of the marker."""
    family = set(members).union(find_by_marker(marker))
    for process in _filter_living(family):
        family.update(list_tree(process.pid))
    return {process for process in family if process.pid not in excluded}


def _filter_living(identities: Iterable[Identity]) -> set[Identity]:
    return {identity for identity in identities if is_alive(identity)}


def _await_death(identities: set[Identity], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _filter_living(identities) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _identify_all(pids: Iterable[int]) -> list[Identity]:
    return [identity for pid in pids if (identity := identify(pid))]


def _list_ancestors(pid: int) -> set[int]:
    """List `pid`, its parent, and so on up to init."""
    line = {pid}
    while (stat := _read_stat(pid)) and stat.parent not in line | {0}:
        pid = stat.parent
        line.add(pid)
    return line


def _list_pids() -> list[int]:
    with suppress(OSError):
        return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return []


def _read_stat(pid: int) -> _Stat | None:
    """Read state, parent and start time. A command's name may contain spaces and brackets, so parse after its last one."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(fields[0], int(fields[1]), fields[19]) if len(fields) > 19 else None


def _read_environment(pid: int) -> list[bytes]:
    folder = PROC / str(pid)
    try:
        own = folder.stat().st_uid == os.getuid()
        return (folder / "environ").read_bytes().split(b"\0") if own else []
    except OSError:
        return []


def _list_open_files(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for handle in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield str(handle.readlink())


def _has_proc() -> bool:
    return (PROC / "self/stat").exists()


def _has_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
