"""Land approved tickets on their base branch or remote.

1. Take the lock of this machine, and remove the leftovers of a killed landing.
2. For each approved ticket of this machine: merge or squash the verified commit in a scratch
   work tree, run the project's check if the result has new files, and move the base branch by compare-and-swap; or push
   the branch, and open a pull request.
3. Complete the ticket with the result. A conflict or a failing check goes back to the agent; any other
   obstacle goes to a person, with what to do.
4. Print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.
"""

from __future__ import annotations

import sys

import bootstrap

with bootstrap.quick_imports():
    from jobs import landing, timer_program


def main(argv: list[str]) -> int:
    """Return 0 when the pass succeeded, 1 for a failure, 2 when it could not start."""
    parser = timer_program.build_parser("mc_land.py", "Land approved tickets.")
    return timer_program.run_job(parser.parse_args(argv).trigger, landing.run_pass)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
