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

import argparse
import sys

import bootstrap

with bootstrap.quick_imports():
    from sqlalchemy import Engine

    from jobs import job_context, landing
    from jobs.task_recorder import get_exit_code, run_with_store
    from models import Trigger
    from settings import Settings


def main(argv: list[str]) -> int:
    """Return 0 when the pass succeeded, 1 for a failure, 2 when it could not start."""
    parser = argparse.ArgumentParser(prog="mc_land.py", description="Land approved tickets.")
    parser.add_argument("--trigger", choices=[member.value for member in Trigger], default=Trigger.OPERATOR.value)
    trigger = Trigger(parser.parse_args(argv).trigger)

    def work(settings: Settings, engine: Engine) -> int:
        context = job_context.build_context(settings, engine)
        return get_exit_code(landing.run_pass(context, trigger))

    return run_with_store(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
