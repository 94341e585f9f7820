"""The scheduler: runs `tasks/*.md` on their cron lines, and a dispatch pass within a second of whatever may call for one.

1. Be the only scheduler of this home.
2. Watch the store in a thread: when a ticket may have become runnable, make a pass at once (the task of each minute is
   the safety net; disabling it stops these passes too).
3. Each second: read the task files and what people decided of them; start what is due, each task one at a time. Dispatch
   and landing run in threads of this process, others as programs. A pass that outlives its task's time-out ends this
   process with exit code 70, so that supervision starts it again.
4. Look at what people want as a project, and land what they approved, each in a thread of its own.
5. Make a pass for `mc_pickup.py`, which asks over a socket in the run folder.
6. Record every run with its real outcome, from the program's own JSON line or its exit code.
7. Told to stop: end what runs, politely. Agents live in tmux's own session and go on.

`--run NAME` runs one task now, `--once` what is due now; both end then.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from functools import partial

import bootstrap

with bootstrap.quick_imports():
    from sqlalchemy import Engine

    from database import writing
    from jobs import job_context, landing, pickup, single_flight
    from jobs.event_watcher import ChangeGate, Watch
    from jobs.job_context import JobContext
    from jobs.landing import Lander
    from jobs.program_probes import Prober
    from jobs.scheduler import ROOT, JobCall, Scheduler, land, pick_up
    from jobs.scheduler_socket import PassRequest, PassServer
    from jobs.task_recorder import Done, exit_code, run_door
    from models import Trigger, now
    from settings import Settings
    from tickets.operations import tasks

TICK_SECONDS = 1.0
BEAT_SECONDS = 30.0
RECOVER_SECONDS = 5.0


def main(argv: list[str]) -> int:
    """Exit code 0 when told to stop or when the task succeeded, 1 for a failure, 2 when it could not begin."""
    parser = argparse.ArgumentParser(prog="mc_scheduler.py", description="Run the scheduled tasks.")
    parser.add_argument("--run", metavar="NAME", help="run one task now and end")
    parser.add_argument("--once", action="store_true", help="run what is due now and end")
    options = parser.parse_args(argv)
    fingerprint = bootstrap.fingerprint()  # before the settings are read: what changes after that is noticed
    return run_door(lambda settings, engine: _work(settings, engine, options, fingerprint))


def _work(settings: Settings, engine: Engine, options: argparse.Namespace, fingerprint: str) -> int:
    here = job_context.set_up(settings, engine)
    scheduler = Scheduler(here, ROOT / "tasks", now(), _say)
    if options.run:
        return _run_one(scheduler, options.run)
    try:
        with single_flight.alone_here(here, "scheduler"):
            if options.once:
                scheduler.tick(now())
                scheduler.wait()
            else:
                _serve(here, scheduler, fingerprint)
    except single_flight.Held as held:
        _say(f"another scheduler is at work: {held}")
        return 1
    return 0


def _run_one(scheduler: Scheduler, name: str) -> int:
    known = scheduler.table().tasks
    if name not in known:
        _say(f"there is no task {name}; there are {', '.join(sorted(known))}")
        return 1
    outcome = scheduler.run_now(name)
    print(json.dumps({"task": name, "outcome": outcome.value}))
    return exit_code(Done(outcome))


def _serve(here: JobContext, scheduler: Scheduler, fingerprint: str) -> None:
    """Until a signal comes."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    watch = Watch(here.engine, lambda trigger: scheduler.run_enabled(pickup.TASK, pick_up, trigger), None)
    watching = threading.Thread(target=_keep, args=(watch, stopping), name="watch", daemon=True)
    watching.start()
    server = _open_socket(here, scheduler, fingerprint)
    prober, lander = Prober(here, _say), _lander(here, scheduler)
    ticker = Ticker(here, scheduler, prober, lander)
    while not stopping.wait(TICK_SECONDS):
        try:
            ticker.tick()
        except Exception as error:  # a store that is away for a moment must not end the scheduler
            _say(f"{type(error).__name__}: {error}")
            stopping.wait(RECOVER_SECONDS)
    watch.stop()
    server.stop()
    scheduler.stop()
    lander.stop()
    watching.join(RECOVER_SECONDS)


class Ticker:
    """The work of each second. The store is read where it has changed, or where a thread may have left something to do."""

    def __init__(self, here: JobContext, scheduler: Scheduler, prober: Prober, lander: Lander) -> None:
        self._bench = here
        self._scheduler = scheduler
        self._prober = prober
        self._lander = lander
        self._gate = ChangeGate(here.engine)
        self._owed = True
        self._beaten = -BEAT_SECONDS

    def tick(self) -> None:
        """What goes wrong is raised, and everything is looked at by the next call."""
        changed = self._gate.has_changed() or self._owed
        self._owed = True
        self._scheduler.tick(now(), changed=changed)
        busy = [self._prober.tick(), self._lander.tick()] if changed else []
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            _beat(self._bench, self._scheduler)
        self._owed = any(busy)


def _keep(watch: Watch, stopping: threading.Event) -> None:
    """The body of the watching thread: what goes wrong is said, and it watches on."""
    while not stopping.is_set():
        try:
            watch.run()
        except Exception as error:
            _say(f"watching the store: {type(error).__name__}: {error}")
            stopping.wait(RECOVER_SECONDS)


def _open_socket(here: JobContext, scheduler: Scheduler, fingerprint: str) -> PassServer:
    """Serve those who ask for a pass, whether or not the task is enabled."""

    def make_pass(request: PassRequest) -> Done:
        def run(call: JobCall) -> Done:
            return pickup.run_pass(call.bench, call.trigger, resumed_only=request.resumed_only)

        return scheduler.run_job(pickup.TASK, run, request.trigger)

    seconds = partial(scheduler.timeout, pickup.TASK)
    server = PassServer(here.settings.run_dir, fingerprint, make_pass, seconds, _say)
    server.start()
    return server


def _lander(here: JobContext, scheduler: Scheduler) -> Lander:
    return Lander(
        here,
        lambda: scheduler.run_enabled(landing.TASK, land, Trigger.EVENT),
        lambda: landing.TASK in scheduler.table().enabled,
        _say,
    )


def _beat(here: JobContext, scheduler: Scheduler) -> None:
    problems = scheduler.table().problems
    running = scheduler.running
    detail = {"running": running, "problems": problems}
    with writing(here.engine) as session:
        tasks.beat(session, "scheduler", "warning" if problems else "ok", json.dumps(detail))


def _say(line: str) -> None:
    print(f"{now():%Y-%m-%dT%H:%M:%SZ} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
