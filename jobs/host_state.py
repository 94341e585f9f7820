"""Observation of this machine's runs: locks, processes and panes. Without a reliable result nothing is started."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models import Run
from workers.host import files, processes
from workers.host.processes import Identity
from workers.host.tmux import NoServer, Pane, TmuxError, TmuxMismatch
from workers.run import lock

from .job_context import JobContext


class ObservationError(Exception):
    """tmux, locks or processes gave no reliable answer."""


class OutdatedServer(ObservationError):
    """The tmux server was started by another version of tmux, so it cannot be asked for its panes."""


@dataclass(frozen=True, slots=True)
class RunObservation:
    """The observed state of one run.

    `held`: its wrapper holds the lock. `started`: a wrapper ever began. `carriers`: processes with its marker.
    `wrapper` is the live process of its recorded wrapper, compared by its full identity.
    """

    held: bool
    started: bool
    wrapper: Identity | None
    carriers: tuple[Identity, ...]


def list_panes(context: JobContext) -> list[Pane]:
    """List the panes of this instance's tmux server. Empty without a server, which does not prove any run dead."""
    try:
        return context.tmux.list_panes()
    except NoServer:
        return []
    except TmuxMismatch as error:
        raise OutdatedServer(f"tmux: {error}") from error
    except TmuxError as error:
        raise ObservationError(f"tmux: {error}") from error


def remove_dead_panes(context: JobContext, panes: list[Pane], live_sessions: set[str]) -> int:
    """Remove panes whose process has ended in sessions without a live run, and return their number.

    Their text stays in the log of the pane. What tmux refuses is left to the next pass.
    """
    count = 0
    for pane in panes:
        if pane.dead and pane.session not in live_sessions:
            with suppress(TmuxError):
                context.tmux.remove_dead_pane(pane.id)
                count += 1
    return count


def list_sockets(context: JobContext) -> dict[int, Path]:
    """List the sockets of wrappers by the id of their run."""
    sockets = ((path.stem.removeprefix("run-"), path) for path in context.settings.sockets_dir.glob("run-*.sock"))
    return {int(number): path for number, path in sockets if number.isdecimal()}


def remove_dead_sockets(context: JobContext, sockets: Mapping[int, Path], live_runs: Collection[int]) -> None:
    """Remove sockets and drafts that killed wrappers have left, once their runs have ended and are proven dead."""
    for run_id, path in sockets.items():
        with suppress(ObservationError):
            if run_id not in live_runs and is_gone(context, run_id):
                files.remove_drafts(context.run_dir(run_id))
                path.unlink(missing_ok=True)


def require_processes() -> None:
    """Raise `ObservationError` when processes cannot be identified reliably."""
    own_identity = processes.identify(os.getpid())
    if own_identity is None or not own_identity.started:
        raise ObservationError("processes: this machine has no readable /proc")


def observe_run(context: JobContext, run: Run, all_panes: list[Pane]) -> RunObservation:
    """Observe one run of this machine. Raises `ObservationError`."""
    folder = context.run_dir(run.id)
    try:
        is_held = folder.is_dir() and lock.is_held(folder)
        is_started = lock.was_started(folder)
    except OSError as error:
        raise ObservationError(f"lock of run {run.id}: {error}") from error
    carriers = tuple(processes.find_by_marker(context.marker(run.id)))
    return RunObservation(is_held, is_started, _find_wrapper(run, all_panes, carriers), carriers)


def is_gone(context: JobContext, run_id: int) -> bool:
    """Return True when an ended run is proven dead: its lock is free, and no process carries its marker."""
    folder = context.run_dir(run_id)
    try:
        is_held = folder.is_dir() and lock.is_held(folder)
    except OSError as error:
        raise ObservationError(f"lock of run {run_id}: {error}") from error
    return not is_held and not processes.find_by_marker(context.marker(run_id))


def _find_wrapper(run: Run, all_panes: list[Pane], carriers: tuple[Identity, ...]) -> Identity | None:
    """Find the live wrapper by the identity in its heartbeats, or before the first one by its pane."""
    if run.pid and run.pid_started and run.boot_id:
        identity = Identity(run.pid, run.pid_started, run.boot_id)
        return identity if processes.is_alive(identity) else None
    pane_pids = {pane.pid for pane in all_panes if not pane.dead}
    return next((carrier for carrier in carriers if carrier.pid in pane_pids), None)
