"""What is to be seen of the runs of this machine: locks, processes, panes. Without a reliable answer nothing is started."""

from __future__ import annotations

import os
from dataclasses import dataclass

from models import Run
from workers.host import processes
from workers.host.processes import Identity
from workers.host.tmux import NoServer, Pane, TmuxError
from workers.run import lock

from .job_context import JobContext


class Unobservable(Exception):
    """tmux, locks or processes gave no answer that can be relied on."""


@dataclass(frozen=True, slots=True)
class RunObservation:
    """One run. `held`: its wrapper holds the lock; `started`: a wrapper ever began; `carriers`: processes with its marker.

    `wrapper` is the living process that the wrapper was last known as, its identity compared in full.
    """

    held: bool
    started: bool
    wrapper: Identity | None
    carriers: tuple[Identity, ...]


def panes(bench: JobContext) -> list[Pane]:
    """The panes of this instance's tmux server; none where no server runs, which proves no run dead."""
    try:
        return bench.tmux.panes()
    except NoServer:
        return []
    except TmuxError as error:
        raise Unobservable(f"tmux: {error}") from error


def require_processes() -> None:
    """Raise `Unobservable` where processes cannot be told apart for good."""
    me = processes.identify(os.getpid())
    if me is None or not me.started:
        raise Unobservable("processes: this machine has no readable /proc")


def observe(bench: JobContext, run: Run, shown: list[Pane]) -> RunObservation:
    """Observe one run of this machine; raises `Unobservable`."""
    folder = bench.run_dir(run.id)
    try:
        held = folder.is_dir() and lock.is_held(folder)
        started = lock.was_started(folder)
    except OSError as error:
        raise Unobservable(f"lock of run {run.id}: {error}") from error
    carriers = tuple(processes.carrying(bench.marker(run.id)))
    return RunObservation(held, started, _wrapper(run, shown, carriers), carriers)


def is_gone(bench: JobContext, run_id: int) -> bool:
    """Whether a run that has ended is proven dead: nobody holds its lock, nothing carries its marker."""
    folder = bench.run_dir(run_id)
    try:
        held = folder.is_dir() and lock.is_held(folder)
    except OSError as error:
        raise Unobservable(f"lock of run {run_id}: {error}") from error
    return not held and not processes.carrying(bench.marker(run_id))


def _wrapper(run: Run, shown: list[Pane], carriers: tuple[Identity, ...]) -> Identity | None:
    """By the identity in its heartbeats; before the first one by the pane it was started in."""
    if run.pid and run.pid_started and run.boot_id:
        told = Identity(run.pid, run.pid_started, run.boot_id)
        return told if processes.is_same(told) else None
    started_in_panes = {pane.pid for pane in shown if not pane.dead}
    return next((each for each in carriers if each.pid in started_in_panes), None)
