"""Who is alive, proven: a process is its pid, its start time and the boot it lives in, never its pid alone.

Everything here reads Linux's /proc. Elsewhere it degrades towards caution: `started` and `boot_id` are
empty, a pid counts as alive for as long as any process has it, nothing can be found by its marker, and
`stop` signals nobody and reports the process as left over, so that no replacement is started for a process
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
GONE = frozenset("ZXx")
"""States of a process that will never run again: zombie, dead."""

POLL_SECONDS = 0.02
KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good: `started` is field 22 of /proc/<pid>/stat (clock ticks since boot, as text)."""

    pid: int
    started: str
    boot_id: str


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    parent: int
    started: str


@cache
def boot_id() -> str:
    """The kernel's name for this boot; empty where there is none."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identify(pid: int) -> Identity | None:
    """The identity of the living process `pid`, or None when there is none (a zombie is none)."""
    stat = _stat(pid)
    if stat is not None:
        return None if stat.state in GONE else Identity(pid, stat.started, boot_id())
    return Identity(pid, "", "") if not _has_proc() and _exists(pid) else None


def is_same(identity: Identity) -> bool:
    """Whether this very process is still alive: not a zombie, not another process with a recycled pid."""
    return identify(identity.pid) == identity


def carrying(marker: str) -> list[Identity]:
    """Living processes of this user whose environment was started with `marker`, such as `MC_RUN_ID=12`.

    This finds children that left the tree by forking twice and calling setsid; they keep their environment.
    """
    wanted = marker.encode()
    return _identities(pid for pid in _pids() if wanted in _environment(pid))


def having_open(paths: Iterable[Path]) -> list[Identity]:
    """Other living processes of this user that have one of these files open."""
    wanted = {str(path) for path in paths}
    return _identities(pid for pid in _pids() if pid != os.getpid() and wanted & set(_open_files(pid)))


def tree(pid: int) -> list[Identity]:
    """The living process `pid` and all its living descendants, parents first."""
    children: dict[int, list[int]] = {}
    for each in _pids():
        if stat := _stat(each):
            children.setdefault(stat.parent, []).append(each)
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return _identities(found)


def send(identity: Identity, signum: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone. A pidfd leaves no gap between look and signal."""
    if not identity.started:
        return False
    try:
        handle = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        if not is_same(identity):
            return False
        signal.pidfd_send_signal(handle, signum)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def stop(identity: Identity, marker: str, grace_seconds: float, adopter: int | None = None) -> list[Identity]:
    """End a process and everything it left behind; returns who still lives (empty: proven dead).

    1. TERM to the process itself, which has `grace_seconds` to end its own children and write what it must.
    2. KILL to whatever then lives: the process, its tree as it was and is, all that carry `marker`, and all
       descendants of `adopter`, which has taken in the orphans of the run (see `workers.host.subreaper`).

    The caller and its ancestors are never signalled, though a wrapper carries its own run's marker. Works
    as well for a process that is already dead: what it left behind is found by the marker.
    """
    spared = _ancestry(os.getpid())
    known = _family({identity} | _descendants(adopter), marker, spared)
    send(identity, signal.SIGTERM)
    _await_death({identity}, grace_seconds)
    deadline = time.monotonic() + KILL_SECONDS
    while living := _living(known := _family(known | _descendants(adopter), marker, spared)):
        if time.monotonic() > deadline:
            break
        for each in living:
            send(each, signal.SIGKILL)
        _await_death(living, POLL_SECONDS)
    return sorted(living, key=lambda each: each.pid)


def clear(pid: int) -> None:
    """KILL all descendants of `pid`, those included that appear meanwhile; gives up after `KILL_SECONDS`."""
    deadline = time.monotonic() + KILL_SECONDS
    while (living := _descendants(pid)) and time.monotonic() < deadline:
        for each in living:
            send(each, signal.SIGKILL)
        _await_death(living, POLL_SECONDS)


def _descendants(pid: int | None) -> set[Identity]:
    return {each for each in tree(pid) if each.pid != pid} if pid is not None else set()


def _family(known: set[Identity], marker: str, spared: set[int]) -> set[Identity]:
    """`known` with the descendants of its living members and all carriers of the marker."""
    found = set(known).union(carrying(marker))
    for each in _living(found):
        found.update(tree(each.pid))
    return {each for each in found if each.pid not in spared}


def _living(identities: Iterable[Identity]) -> set[Identity]:
    return {each for each in identities if is_same(each)}


def _await_death(identities: set[Identity], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _living(identities) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _identities(pids: Iterable[int]) -> list[Identity]:
    return [identity for pid in pids if (identity := identify(pid))]


def _ancestry(pid: int) -> set[int]:
    """`pid`, its parent, and so on up to init."""
    line = {pid}
    while (stat := _stat(pid)) and stat.parent not in line | {0}:
        pid = stat.parent
        line.add(pid)
    return line


def _pids() -> list[int]:
    with suppress(OSError):
        return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return []


def _stat(pid: int) -> _Stat | None:
    """State, parent and start time; the command's name may hold spaces and brackets, so read after its last
    one.
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(fields[0], int(fields[1]), fields[19]) if len(fields) > 19 else None


def _environment(pid: int) -> list[bytes]:
    folder = PROC / str(pid)
    try:
        own = folder.stat().st_uid == os.getuid()
        return (folder / "environ").read_bytes().split(b"\0") if own else []
    except OSError:
        return []


def _open_files(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for handle in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield str(handle.readlink())


def _has_proc() -> bool:
    return (PROC / "self/stat").exists()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
