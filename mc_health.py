"""Check the health of this host and of the store once, for an installation whose timers are systemd's.

1. Evaluate every check; store the results, which all pages and the API show.
2. Open, escalate and close incidents.
3. Print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.
"""

from __future__ import annotations

import argparse
import sys

import bootstrap

with bootstrap.quick_imports():
    from sqlalchemy import Engine

    from jobs import job_context
    from jobs.health import look
    from jobs.task_recorder import get_exit_code, run_with_store
    from models import Trigger
    from settings import Settings


def main(argv: list[str]) -> int:
    """Return 0 when the checks were made, whatever they found, 1 for a failure, 2 when it could not start."""
    parser = argparse.ArgumentParser(prog="mc_health.py", description="Check the health of Mission Control.")
    parser.add_argument("--trigger", choices=[member.value for member in Trigger], default=Trigger.OPERATOR.value)
    trigger = Trigger(parser.parse_args(argv).trigger)

    def work(settings: Settings, engine: Engine) -> int:
        return get_exit_code(look.run_pass(job_context.build_context(settings, engine), trigger))

    return run_with_store(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
