"""Probe the agent programs of this machine, and the folders and clone URLs that people want as projects.

1. Probe every known program: installed, version, log-in, what to do. Replace the stored results.
2. Inspect or clone what people have requested on the settings page.
3. Print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.
"""

from __future__ import annotations

import argparse
import sys

import bootstrap

with bootstrap.quick_imports():
    from sqlalchemy import Engine

    from jobs import job_context, program_probes
    from jobs.task_recorder import get_exit_code, run_and_record, run_with_store
    from models import Trigger
    from settings import Settings

TASK = "probe-agents"


def main(argv: list[str]) -> int:
    """Return 0 when the probes ran, 1 for a failure, 2 when it could not start."""
    parser = argparse.ArgumentParser(prog="mc_probe.py", description="Probe the programs of this machine.")
    parser.add_argument("--trigger", choices=[member.value for member in Trigger], default=Trigger.OPERATOR.value)
    trigger = Trigger(parser.parse_args(argv).trigger)

    def work(settings: Settings, engine: Engine) -> int:
        context = job_context.build_context(settings, engine)
        return get_exit_code(run_and_record(engine, TASK, trigger, lambda: program_probes.make_pass(context)))

    return run_with_store(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
