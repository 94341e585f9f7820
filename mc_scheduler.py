"""The scheduler: runs `tasks/*.md` on their cron lines, and a dispatch pass within a second of whatever may call for one.

1. Be the only scheduler of this home.
2. Watch the store in a thread: when a ticket may have become runnable, make a pass at once (the task of each minute is
   the safety net; disabling it stops these passes too).
3. Each second: read the task files and what people decided of them; start what is due, each task one at a time.
4. Look at what people want as a project, and land what they approved, each in a thread of its own.
5. Record every run with its real outcome, from the program's own JSON line or its exit code.
6. Told to stop: end what runs, politely. Agents live in tmux's own session and go on.

`--run NAME` runs one task now, `--once` what is due now; both end then.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time

from sqlalchemy import Engine

from doors import bench, flight, landing, passes
from doors.bench import Bench
from doors.landing import Lander
from doors.probing import Prober
from doors.recording import Done, exit_code, recorded, run_door
from doors.scheduling import ROOT, Scheduler
from doors.watching import Watch
from models import TaskOutcome, Trigger, now, writing
from settings import Settings
from tickets import tasks

PICKUP = "ticket-pickup"
TICK_SECONDS = 1.0
BEAT_SECONDS = 30.0
RECOVER_SECONDS = 5.0


def main(argv: list[str]) -> int:
    """Exit code 0 when told to stop or when the task succeeded, 1 for a failure, 2 when it could not begin."""
    parser = argparse.ArgumentParser(prog="mc_scheduler.py", description="Run the scheduled tasks.")
    parser.add_argument("--run", metavar="NAME", help="run one task now and end")
    parser.add_argument("--once", action="store_true", help="run what is due now and end")
    options = parser.parse_args(argv)
    return run_door(lambda settings, engine: _work(settings, engine, options))


def _work(settings: Settings, engine: Engine, options: argparse.Namespace) -> int:
    here = bench.set_up(settings, engine)
    scheduler = Scheduler(here, ROOT / "tasks", now(), _say)
    if options.run:
        return _run_one(scheduler, options.run)
    try:
        with flight.alone_here(here, "scheduler"):
            if options.once:
                scheduler.tick(now())
                scheduler.wait()
            else:
                _serve(here, scheduler)
    except flight.Held as held:
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


def _serve(here: Bench, scheduler: Scheduler) -> None:
    """Until a signal comes."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    watch = Watch(here.engine, lambda trigger: make_pass(here, scheduler, trigger), None)
    watching = threading.Thread(target=_keep, args=(watch, stopping), name="watch", daemon=True)
    watching.start()
    prober, lander = Prober(here, _say), Lander(here, lambda: landing.TASK in scheduler.table().enabled, _say)
    beaten = -BEAT_SECONDS
    while not stopping.wait(TICK_SECONDS):
        try:
            scheduler.tick(now())
            prober.tick()
            lander.tick()
            if time.monotonic() - beaten > BEAT_SECONDS:
                beaten = time.monotonic()
                _beat(here, scheduler)
        except Exception as error:  # a store that is away for a moment must not end the scheduler
            _say(f"{type(error).__name__}: {error}")
            stopping.wait(RECOVER_SECONDS)
    watch.stop()
    lander.stop()
    scheduler.stop()
    watching.join(RECOVER_SECONDS)


def _keep(watch: Watch, stopping: threading.Event) -> None:
    """The body of the watching thread: what goes wrong is said, and it watches on."""
    while not stopping.is_set():
        try:
            watch.run()
        except Exception as error:
            _say(f"watching the store: {type(error).__name__}: {error}")
            stopping.wait(RECOVER_SECONDS)


def make_pass(here: Bench, scheduler: Scheduler, trigger: Trigger) -> Done:
    """What an event leads to, unless the task of dispatch is disabled."""
    if PICKUP not in scheduler.table().enabled:
        return Done(TaskOutcome.NOOP)
    return recorded(here.engine, PICKUP, "pickup", trigger, lambda: passes.make_pass(here, probes=False))


def _beat(here: Bench, scheduler: Scheduler) -> None:
    problems = scheduler.table().problems
    running = scheduler.running
    detail = {"running": running, "problems": problems}
    with writing(here.engine) as session:
        tasks.beat(session, "scheduler", "warning" if problems else "ok", json.dumps(detail))


def _say(line: str) -> None:
    print(f"{now():%Y-%m-%dT%H:%M:%SZ} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
