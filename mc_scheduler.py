"""Run the tasks of `tasks/*.md`, here and in the home, at their cron times, and a dispatch pass within a second of a relevant event.

1. Take the scheduler's lock of this home.
2. Watch the store in a thread: when a ticket may have become runnable, make a pass at once (the task of each minute is
   the safety net; disabling it stops these passes too).
3. Each second: read the task files and their settings in the store; start due tasks, each one never twice at a time.
   Dispatch and landing run in threads of this process, others as programs. A pass that exceeds its task's timeout ends
   this process with exit code 70, so that supervision restarts it.
4. Inspect project drafts, land approved tickets and fetch live routes, each in a thread of its own.
5. Every few seconds check the health of this host and of the store, and try the merges of branches that have moved,
   each in a thread of its own, and store the results for all who show them.
6. Send the alerts of each channel that is set up, in a thread of its own.
7. Make a pass for `mc_pickup.py`, which requests it over a socket in the run folder.
8. Record every run with its real outcome, from the program's own JSON line or its exit code.
9. On a stop signal: let running tasks end, for a few seconds. Agents are in tmux's own session and stay alive.

`--run NAME` runs one task now, `--once` the tasks that are due now; both then end.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import bootstrap

with bootstrap.quick_imports():
    from sqlalchemy import Engine

    from database import writing
    from jobs import job_context, landing, pickup, single_flight, watchdog
    from jobs.alerts.alert_starter import AlertStarter
    from jobs.event_watcher import ChangeDetector, EventWatcher
    from jobs.evidence import live_routes
    from jobs.evidence.live_routes import RouteChecker
    from jobs.health.look import Looker
    from jobs.job_context import JobContext
    from jobs.landing import Lander
    from jobs.program_probes import Prober
    from jobs.schedule.event_job import EventJob
    from jobs.scheduler import ROOT, Job, JobCall, Scheduler, run_landing, run_live_routes, run_pickup
    from jobs.scheduler_socket import PassRequest, PassServer
    from jobs.task_recorder import JobResult, get_exit_code, run_with_store
    from jobs.trial_merges import TrialMerger
    from models import Trigger, now
    from settings import Settings
    from tickets.schedule import tasks
    from workers.host import stop_signals, subreaper

EventJobType = TypeVar("EventJobType", bound=EventJob)
TICK_SECONDS = 1.0
HEARTBEAT_INTERVAL = timedelta(seconds=30)
RETRY_SECONDS = 5.0
STOP_SECONDS = 13.0
"""The longest that a stop takes: supervisord kills the scheduler after 15 seconds, systemd after 30."""


def main(argv: list[str]) -> int:
    """Return 0 when stopped or when the task succeeded, 1 for a failure, 2 when it could not start."""
    parser = argparse.ArgumentParser(prog="mc_scheduler.py", description="Run the scheduled tasks.")
    parser.add_argument("--run", metavar="NAME", help="run one task now and exit")
    parser.add_argument("--once", action="store_true", help="run the tasks that are due now and exit")
    options = parser.parse_args(argv)
    fingerprint = bootstrap.compute_fingerprint()  # before the settings are read, so that later changes are noticed
    return run_with_store(lambda settings, engine: _run(settings, engine, options, fingerprint))


def _run(settings: Settings, engine: Engine, options: argparse.Namespace, fingerprint: str) -> int:
    context = job_context.build_context(settings, engine)
    scheduler = Scheduler(context, ROOT / "tasks", now(), _log)
    if options.run:
        return _run_task(scheduler, options.run)
    try:
        with single_flight.hold_host_lock(context, "scheduler"):
            if options.once:
                scheduler.tick(now())
                scheduler.wait()
            else:
                _serve(context, scheduler, fingerprint)
    except single_flight.AlreadyRunning as held:
        _log(f"another scheduler is at work: {held}")
        return 1
    return 0


def _run_task(scheduler: Scheduler, name: str) -> int:
    tasks_by_name = scheduler.load_schedule().tasks
    if name not in tasks_by_name:
        _log(f"Unknown task {name}. The tasks are {', '.join(sorted(tasks_by_name))}.")
        return 1
    outcome = scheduler.run_now(name)
    print(json.dumps({"task": name, "outcome": outcome.value}))
    return get_exit_code(JobResult(outcome))


def _serve(context: JobContext, scheduler: Scheduler, fingerprint: str) -> None:
    """Run the scheduler until a signal comes."""
    if context.settings.ambient.is_served:
        subreaper.end_with_parent()
    scheduler.close_interrupted()
    stopping = threading.Event()
    stop_signals.call_on_stop(stopping.set)
    watcher = EventWatcher(
        context.engine, lambda trigger: scheduler.run_enabled(pickup.TASK, run_pickup, trigger), None
    )
    watch_thread = threading.Thread(target=_watch_store, args=(watcher, stopping), name="watch", daemon=True)
    watch_thread.start()
    server = _open_socket(context, scheduler, fingerprint)
    lander = _build_event_job(Lander, context, scheduler, landing.TASK, run_landing)
    route_checker = _build_event_job(RouteChecker, context, scheduler, live_routes.TASK, run_live_routes)
    workers, alert_starter = (Prober(context, _log), lander, route_checker), AlertStarter(context, _log)
    looker, merger = Looker(context, _log), TrialMerger(context, _log)
    ticker = Ticker(context, scheduler, workers, looker, merger, alert_starter)
    while not stopping.wait(TICK_SECONDS):
        try:
            ticker.tick()
        except Exception as error:  # a temporarily unavailable store must not end the scheduler
            _log(f"{type(error).__name__}: {error}")
            stopping.wait(RETRY_SECONDS)
    _limit_stop()
    watcher.stop()
    server.stop()
    alert_starter.stop()
    scheduler.stop()
    lander.stop()
    watch_thread.join(RETRY_SECONDS)


def _limit_stop() -> None:
    """End this process when a thread that waits, such as for git, would make its stop last longer than `STOP_SECONDS`."""
    timer = threading.Timer(STOP_SECONDS, _end_without_waiting)
    timer.daemon = True
    timer.start()


def _end_without_waiting() -> None:
    names = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
    _log(f"stopped without waiting for {', '.join(names)}")
    watchdog.end_process(0)


class Worker(Protocol):
    """Works in a thread of its own. `tick` starts it when there is work, and is True when there may be more soon."""

    def tick(self) -> bool: ...


class Ticker:
    """The work of each second. The store is read when it has changed, or when a thread may have left something to do."""

    def __init__(
        self,
        context: JobContext,
        scheduler: Scheduler,
        workers: Sequence[Worker],
        looker: Looker,
        merger: TrialMerger,
        alert_starter: AlertStarter,
    ) -> None:
        self._context = context
        self._scheduler = scheduler
        self._workers = workers
        self._looker = looker
        self._merger = merger
        self._alert_starter = alert_starter
        self._gate = ChangeDetector(context.engine)
        self._owed = True
        self._heartbeat_time = datetime.min.replace(tzinfo=UTC)

    def tick(self) -> None:
        """Do the work of one second. An error is raised, and the next call then checks everything."""
        is_changed = self._gate.has_changed() or self._owed
        self._owed = True
        self._scheduler.tick(now(), is_changed=is_changed)
        are_busy = [worker.tick() for worker in self._workers] if is_changed else []
        if not timedelta() <= now() - self._heartbeat_time < HEARTBEAT_INTERVAL:  # at once after a step of the clock
            self._heartbeat_time = now()
            _record_heartbeat(self._context, self._scheduler)
        self._looker.tick()  # after the first heartbeat, which it looks at
        self._merger.tick()
        self._alert_starter.tick(is_changed=is_changed)
        self._owed = any(are_busy)


def _watch_store(watcher: EventWatcher, stopping: threading.Event) -> None:
    """Run the watcher's thread, which logs errors and continues."""
    while not stopping.is_set():
        try:
            watcher.run()
        except Exception as error:
            _log(f"watching the store: {type(error).__name__}: {error}")
            stopping.wait(RETRY_SECONDS)


def _open_socket(context: JobContext, scheduler: Scheduler, fingerprint: str) -> PassServer:
    """Serve requests for a pass, whether or not the task is enabled."""

    def make_pass(request: PassRequest) -> JobResult:
        def run(call: JobCall) -> JobResult:
            return pickup.run_pass(call.context, call.trigger, resumed_only=request.resumed_only)

        return scheduler.run_job(pickup.TASK, run, request.trigger)

    seconds = partial(scheduler.get_timeout, pickup.TASK)
    server = PassServer(context.settings.run_dir, fingerprint, make_pass, seconds, _log)
    server.start()
    return server


def _build_event_job(
    kind: type[EventJobType], context: JobContext, scheduler: Scheduler, task: str, job: Job
) -> EventJobType:
    return kind(
        context,
        lambda: scheduler.run_enabled(task, job, Trigger.EVENT),
        lambda: task in scheduler.load_schedule().enabled,
        _log,
    )


def _record_heartbeat(context: JobContext, scheduler: Scheduler) -> None:
    problems = scheduler.load_schedule().problems
    summary = {"running": scheduler.running, "problems": problems}
    with writing(context.engine) as session:
        tasks.record_heartbeat(session, tasks.SCHEDULER, "warning" if problems else "ok", summary=summary)


def _log(line: str) -> None:
    print(f"{now():%Y-%m-%dT%H:%M:%SZ} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
