"""Landing: bring what was approved onto its base branch, or to its remote.

1. Be the only one at it on this machine; remove what a killed one left.
2. For each ticket of this machine whose approval is to be carried out: merge or squash the verified commit in a scratch
   work tree, run the project's check on what is new there, and move the base branch by compare-and-swap; or push the
   branch, and open a pull request.
3. Complete the ticket with the fact of it. A conflict or a failing check goes back to the agent; anything else that
   stands in the way goes to a person, with what to do.
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
    """Exit code 0 when it has done what there was, 1 for a failure, 2 when it could not begin."""
    parser = argparse.ArgumentParser(prog="mc_land.py", description="Land what was approved.")
    parser.add_argument("--trigger", choices=[member.value for member in Trigger], default=Trigger.OPERATOR.value)
    trigger = Trigger(parser.parse_args(argv).trigger)

    def work(settings: Settings, engine: Engine) -> int:
        context = job_context.build_context(settings, engine)
        return get_exit_code(landing.run_pass(context, trigger))

    return run_with_store(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
