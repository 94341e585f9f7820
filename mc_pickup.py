"""The dispatcher: one pass over the queue, each minute and at once when a ticket becomes runnable.

1. Take the single-flight lock (a file lock; a lease row too when the store is shared). Held: say by whom, end as `skipped`.
2. Observe tmux, locks and processes. Anything but a reliable answer: nothing is started, and an incident says why.
3. Reconcile: end runs that were told to stop, settle dead ones (their spool and report first), forbid starts that never
   happened, free workspaces, fire the wake conditions that the store can tell.
4. Read the runnable tickets in order: resumed first, then priority, then age. A closed gate is logged once per change.
5. For each: claim, prepare the workspace, write the spec, start the wrapper in tmux. A failure proven to have started
   nothing gives the ticket back with its reason; an ambiguous answer is settled by observation at the next pass.
6. Run the commands that parked tickets wait for, and start what they have woken.
7. Print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.

Whoever starts it, the behaviour is the same.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys

from sqlalchemy import Engine

from doors import bench, passes
from doors.recording import Done, exit_code, recorded, run_door
from doors.watching import FULL_SECONDS, Watch
from doors.world import Unobservable
from models import Trigger
from settings import Settings

TASK = "ticket-pickup"
CHECK = "pickup"


def main(argv: list[str]) -> int:
    """Exit code 0 for a pass that was made or skipped, 1 for one that failed, 2 when it could not begin."""
    options = _options(argv)
    return run_door(lambda settings, engine: _work(settings, engine, options))


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mc_pickup.py", description="Make one dispatch pass.")
    parser.add_argument("--needs-input-only", action="store_true", help="only tickets that resume, never fresh ones")
    parser.add_argument("--dry-run", action="store_true", help="print what would be decided, change nothing")
    parser.add_argument("--watch", action="store_true", help="stay up and react to events within a second")
    parser.add_argument("--trigger", choices=[each.value for each in Trigger], default=Trigger.OPERATOR.value)
    return parser.parse_args(argv)


def _work(settings: Settings, engine: Engine, options: argparse.Namespace) -> int:
    here = bench.set_up(settings, engine)
    resumed_only = options.needs_input_only

    def make_pass(trigger: Trigger) -> Done:
        probes = trigger is not Trigger.EVENT
        return recorded(
            engine, TASK, CHECK, trigger, lambda: passes.make_pass(here, resumed_only=resumed_only, probes=probes)
        )

    if options.dry_run:
        return _preview(here, resumed_only)
    if not options.watch:
        return exit_code(make_pass(Trigger(options.trigger)))
    watch = Watch(engine, make_pass, FULL_SECONDS)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watch.stop())
    watch.run()
    return 0


def _preview(here: bench.Bench, resumed_only: bool) -> int:
    try:
        print(json.dumps(passes.preview(here, resumed_only=resumed_only)))
    except Unobservable as error:
        print(json.dumps({"would_claim": [], "error": str(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
