"""How every door begins and ends: settings, store, work, then one JSON line, a row in `task_runs` and a heartbeat."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

import migrations
from database import UnsafeSQLite, open_engine, writing
from models import TaskOutcome, Trigger, now
from settings import Settings, SettingsError, load
from tickets.operations import tasks

START_FAILED_CODE = 2
"""Exit code of a door that could not reach its store."""


class StoreOutdated(Exception):
    """The store has another schema than this version needs; the message says what to do."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What one piece of a door's work came to; `summary` is printed and kept.

    `again`: something stood in the way that will be gone in a moment.
    """

    outcome: TaskOutcome
    summary: dict[str, Any] = field(default_factory=dict)
    again: bool = False


@contextmanager
def open_store(settings: Settings) -> Iterator[Engine]:
    """The store's engine; raises `StoreOutdated`, or `UnsafeSQLite` before anything is touched."""
    settings.ensure_home()
    engine = open_engine(settings.database_url)
    try:
        if trouble := migrations.explain_mismatch(engine):
            raise StoreOutdated(trouble)
        yield engine
    finally:
        engine.dispose()


def run_with_store(work: Callable[[Settings, Engine], int]) -> int:
    """Load the settings, open the store and work; the exit code. What keeps a door from its work is said in one line."""
    try:
        settings = load()
        with open_store(settings) as engine:
            return work(settings, engine)
    except (SettingsError, StoreOutdated, DBAPIError, UnsafeSQLite) as error:
        message = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        print(message, file=sys.stderr)
        _print_summary({"outcome": TaskOutcome.FAILED.value, "error": message.splitlines()[0]})
        return START_FAILED_CODE


def get_exit_code(result: JobResult) -> int:
    """1 for a failure alone."""
    return 1 if result.outcome is TaskOutcome.FAILED else 0


def run_and_record(engine: Engine, task: str, check: str, trigger: Trigger, work: Callable[[], JobResult]) -> JobResult:
    """Do the work, record it whatever comes, and print it; the summary of what is returned is the one that was printed.

    A pass that an event has triggered and that found nothing to do leaves only its heartbeat.
    """
    started_at, clock = now(), time.monotonic()
    result, trace = _try_work(work)
    summary = {"task": task, "outcome": result.outcome.value, **result.summary}
    summary["seconds"] = round(time.monotonic() - clock, 3)
    code = get_exit_code(result)
    idle = trigger is Trigger.EVENT and result.outcome in (TaskOutcome.NOOP, TaskOutcome.SKIPPED)
    with writing(engine) as session:
        if not idle:
            row = tasks.record_run(
                session, task, trigger, result.outcome, started_at, exit_code=code, summary=summary, output_tail=trace
            )
            summary["task_run"] = row
        tasks.record_heartbeat(session, check, _choose_status(result.outcome), json.dumps(result.summary, default=str))
    _print_summary(summary)
    return replace(result, summary=summary)


def _try_work(work: Callable[[], JobResult]) -> tuple[JobResult, str]:
    """What the work came to and, where it broke off, where that was."""
    try:
        return work(), ""
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        # Without the message's parameters, which may hold what people wrote.
        trace = "".join(traceback.format_tb(error.__traceback__)) + reason
        print(trace, file=sys.stderr)
        return JobResult(TaskOutcome.FAILED, {"error": reason[:500]}), trace


def _choose_status(outcome: TaskOutcome) -> str:
    return {TaskOutcome.FAILED: "failed", TaskOutcome.WARNING: "warning"}.get(outcome, "ok")


def _print_summary(summary: dict[str, Any]) -> None:
    print(json.dumps(summary, default=str), flush=True)
