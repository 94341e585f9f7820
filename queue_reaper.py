"""Settle what has expired, delete old rows and files, and back up the store.

Without an option, every five minutes:
1. Expire messages that a live run could have taken for half an hour and did not.
2. Count the rows of the store, for the health page.
3. Settle dead runs exactly as pickup does: spool and report first, then lost; free the workspaces of ended runs.

`--retention`, daily:
4. Delete rows by the rules of `tickets/operations/retention.py`, a bounded number per pass.
5. Delete the files of long-ended runs, attachments without a row, and old logs.

`--backup`, daily:
6. Copy a SQLite store through SQLite, verify the copy, remove old ones.

`--canary`, every ten minutes:
7. Let a ticket of Mission Control's own travel the whole path, and time each leg (`jobs/health/canary.py`).

`--inbox-drain`, every minute:
8. Open the inbox's ticket for the orchestrator when items wait (`jobs/loops/inbox_drain.py`).

`--orchestrator-board-sweep`, nightly:
9. File an item for each ticket whose state and facts disagree, and verify the evidence of a few done tickets again
   (`jobs/loops/board_sweep.py`).

`--triage-untriaged`, every five minutes:
10. Give tickets of the inbox priority, project and a proposed owner, by rules (`jobs/loops/triage.py`).

`--live-routes`, every minute:
11. Fetch the addresses that tickets name as evidence (`jobs/evidence/live_routes.py`).

`--mc-auto-review`, every minute:
12. Start the reviews of submitted work, and settle those that brought no report (`jobs/loops/auto_review.py`).

Then print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.
"""

from __future__ import annotations

import sys

import bootstrap

with bootstrap.quick_imports():
    from jobs import housekeeping, timer_program

DEFAULT_JOB = "queue-reaper"


def main(argv: list[str]) -> int:
    """Return 0 for work done or skipped, 1 for a failure, 2 when it could not start."""
    parser = timer_program.build_parser("queue_reaper.py", "Settle, delete and back up.")
    parser.set_defaults(job=DEFAULT_JOB)
    for job in sorted(housekeeping.JOBS.keys() - {DEFAULT_JOB}):
        parser.add_argument(f"--{job}", dest="job", action="store_const", const=job, help=f"run the job {job}")
    options = parser.parse_args(argv)
    return timer_program.run_job(
        options.trigger, lambda context, trigger: housekeeping.run_pass(context, options.job, trigger)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
