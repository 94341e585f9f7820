"""The frame of the programs that timers start with one job: arguments, settings, store and exit code."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from sqlalchemy import Engine

from jobs.job_context import JobContext, build_context
from jobs.task_recorder import JobResult, get_exit_code, run_with_store
from models import Trigger
from settings import Settings


def build_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Build a parser that knows `--trigger`."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument(
        "--trigger",
        choices=[member.value for member in Trigger],
        default=Trigger.OPERATOR.value,
        help="who starts it: operator, timer or event",
    )
    return parser


def run_job(trigger: str, run_pass: Callable[[JobContext, Trigger], JobResult]) -> int:
    """Open the store and make a pass. Returns 0, 1 for a failure of the pass, or 2 when it could not start."""

    def work(settings: Settings, engine: Engine) -> int:
        return get_exit_code(run_pass(build_context(settings, engine), Trigger(trigger)))

    return run_with_store(work)
