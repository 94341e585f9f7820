"""Make one dispatch pass over the queue, each minute and at once when a ticket becomes runnable.

1. Take the single-flight lock (a file lock, and a lease row when the store is shared). If it is held: end as `skipped`.
2. Observe tmux, locks and processes. Without a reliable result nothing is started, and an incident gives the reason.
3. Reconcile: end runs that were told to stop, settle dead ones (their spool and report first), forbid starts that never
   happened, free workspaces, fire the wake conditions that the store can evaluate.
4. Read the runnable tickets in order: resumed first, then priority, then age. A closed gate is logged once per change.
5. For each: claim, prepare the workspace, write the spec, start the wrapper in tmux. A failure proven to have started
   nothing releases the ticket with its reason; an ambiguous start is settled by observation at the next pass.
6. Run the probes of waiting tickets, and start those that they wake.
7. Print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.

The behaviour is the same whoever starts it. If a scheduler with the same settings and code is running, it makes the
pass: it has everything loaded, which takes this program longer than the pass itself.
"""

from __future__ import annotations

import argparse
import json
import sys

import bootstrap
from jobs import scheduler_client


def main(argv: list[str]) -> int:
    """Return 0 for a pass that was made or skipped, 1 for one that failed, 2 when it could not start."""
    parser = argparse.ArgumentParser(prog="mc_pickup.py", description="Make one dispatch pass.")
    parser.add_argument("--needs-input-only", action="store_true", help="only tickets that resume, never fresh ones")
    parser.add_argument("--dry-run", action="store_true", help="print the decisions without changing anything")
    parser.add_argument("--watch", action="store_true", help="keep running and react to events within a second")
    parser.add_argument("--trigger", default="operator", help="who starts it: operator, timer or event")
    options = parser.parse_args(argv)
    code = None if options.dry_run or options.watch else _ask_scheduler(options)
    return _make_pass(parser, options) if code is None else code


def _ask_scheduler(options: argparse.Namespace) -> int | None:
    """Ask the scheduler for the pass. Returns the exit code, None when this program must make it."""
    request = {"trigger": options.trigger, "resumed_only": options.needs_input_only}
    try:
        result = scheduler_client.request_pass(
            bootstrap.find_home_folder(), request | {"fingerprint": bootstrap.compute_fingerprint()}
        )
    except scheduler_client.PassRefused as error:
        print(f"{error} This program makes the pass itself.", file=sys.stderr)
        return None
    if result is None:
        return None
    code, summary = result
    print(json.dumps(summary))
    return code


def _make_pass(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    with bootstrap.quick_imports():
        from jobs import pickup
        from models import Trigger
    triggers = [member.value for member in Trigger]
    if options.trigger not in triggers:
        parser.error(f"argument --trigger: invalid choice: {options.trigger!r} (choose from {', '.join(triggers)})")
    return pickup.run_program(
        pickup.PickupOptions(
            trigger=Trigger(options.trigger),
            resumed_only=options.needs_input_only,
            dry_run=options.dry_run,
            watch=options.watch,
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
