"""The dispatch pass as a job: recorded as its task, by whomever it is run."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from models import Trigger
from settings import Settings

from . import dispatch_pass, job_context
from .event_watcher import FULL_SECONDS, Watch
from .host_state import Unobservable
from .job_context import JobContext
from .task_recorder import Done, exit_code, recorded, run_door

TASK = "ticket-pickup"
CHECK = "pickup"


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `mc_pickup.py`."""

    trigger: Trigger
    resumed_only: bool
    dry_run: bool
    watch: bool


def run_pass(bench: JobContext, trigger: Trigger, *, task: str = TASK, resumed_only: bool = False) -> Done:
    """Make one pass and record it; one that an event has triggered runs no commands that tickets wait for."""
    probes = trigger is not Trigger.EVENT
    work = partial(dispatch_pass.make_pass, bench, resumed_only=resumed_only, probes=probes)
    return recorded(bench.engine, task, CHECK, trigger, work)


def run_program(options: Options) -> int:
    """Do what the command line says; the exit code."""
    return run_door(lambda settings, engine: _work(settings, engine, options))


def _work(settings: Settings, engine: Engine, options: Options) -> int:
    here = job_context.set_up(settings, engine)
    if options.dry_run:
        return _preview(here, options.resumed_only)
    if options.watch:
        return _watch(here, options.resumed_only)
    return exit_code(run_pass(here, options.trigger, resumed_only=options.resumed_only))


def _watch(here: JobContext, resumed_only: bool) -> int:
    """Make passes until a signal comes."""
    watch = Watch(here.engine, lambda trigger: run_pass(here, trigger, resumed_only=resumed_only), FULL_SECONDS)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watch.stop())
    watch.run()
    return 0


def _preview(here: JobContext, resumed_only: bool) -> int:
    try:
        print(json.dumps(dispatch_pass.preview(here, resumed_only=resumed_only)))
    except Unobservable as error:
        print(json.dumps({"would_claim": [], "error": str(error)}))
        return 1
    return 0
