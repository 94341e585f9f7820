"""The dispatch pass as a job that is recorded as its task, whoever runs it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from models import Trigger
from settings import Settings
from workers.host import stop_signals

from . import dispatch_pass, job_context
from .event_watcher import PASS_INTERVAL_SECONDS, EventWatcher
from .host_state import ObservationError
from .job_context import JobContext
from .task_recorder import JobResult, get_exit_code, run_and_record, run_with_store

TASK = "ticket-pickup"


@dataclass(frozen=True, slots=True)
class PickupOptions:
    """The command line options of `mc_pickup.py`."""

    trigger: Trigger
    resumed_only: bool
    dry_run: bool
    watch: bool


def run_pass(context: JobContext, trigger: Trigger, *, task: str = TASK, resumed_only: bool = False) -> JobResult:
    """Make one pass and record it. One that an event triggers runs no probe commands."""
    probes = trigger is not Trigger.EVENT
    work = partial(dispatch_pass.make_pass, context, resumed_only=resumed_only, probes=probes)
    return run_and_record(context.engine, task, trigger, work)


def run_program(options: PickupOptions) -> int:
    """Run `mc_pickup.py` with these options and return the exit code."""
    return run_with_store(lambda settings, engine: _run(settings, engine, options))


def _run(settings: Settings, engine: Engine, options: PickupOptions) -> int:
    context = job_context.build_context(settings, engine)
    if options.dry_run:
        return _print_preview(context, options.resumed_only)
    if options.watch:
        return _watch_store(context, options.resumed_only)
    return get_exit_code(run_pass(context, options.trigger, resumed_only=options.resumed_only))


def _watch_store(context: JobContext, resumed_only: bool) -> int:
    """Make passes until a signal comes."""
    watcher = EventWatcher(
        context.engine, lambda trigger: run_pass(context, trigger, resumed_only=resumed_only), PASS_INTERVAL_SECONDS
    )
    stop_signals.call_on_stop(watcher.stop)
    watcher.run()
    return 0


def _print_preview(context: JobContext, resumed_only: bool) -> int:
    try:
        print(json.dumps(dispatch_pass.preview_pass(context, resumed_only=resumed_only)))
    except ObservationError as error:
        print(json.dumps({"would_claim": [], "error": str(error)}))
        return 1
    return 0
