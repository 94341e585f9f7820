"""The frame of every scheduled program: settings, store, work, then a JSON line, a row in `task_runs` and a heartbeat."""

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
from database import StoreUnavailable, UnsafeSQLite, open_engine, writing
from models import MissReason, TaskOutcome, Trigger, now
from redaction import SHAPES
from settings import Settings, SettingsError, load
from tickets.schedule import tasks

REPEATABLE = frozenset({TaskOutcome.FAILED, TaskOutcome.WARNING})
"""Outcomes after which a repetition in a moment makes sense where the job says so."""
MAX_ERROR_CHARACTERS = 500
START_FAILED_CODE = 2
"""Exit code of a program that could not open its store."""


class StoreOutdated(Exception):
    """The store has another schema than this version needs. The message says what to do."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job. `summary` is printed and stored.

    `again` when a temporary obstacle was in the way, so that a repetition in a moment makes sense. `reason` says in the
    ledger why it was skipped.
    """

    outcome: TaskOutcome
    summary: dict[str, Any] = field(default_factory=dict)
    again: bool = False
    reason: MissReason | None = None


@contextmanager
def open_store(settings: Settings) -> Iterator[Engine]:
    """Open the store's engine. Raises `StoreOutdated`, or `UnsafeSQLite` before anything is touched."""
    settings.ensure_home()
    engine = open_engine(settings.database_url)
    try:
        if trouble := migrations.explain_mismatch(engine):
            raise StoreOutdated(trouble)
        yield engine
    finally:
        engine.dispose()


def run_with_store(work: Callable[[Settings, Engine], int]) -> int:
    """Load the settings, open the store, work and return the exit code. An error that prevents it is printed as one line."""
    try:
        settings = load()
        with open_store(settings) as engine:
            return work(settings, engine)
    except (SettingsError, StoreOutdated, DBAPIError, UnsafeSQLite) as error:
        message = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        print(message, file=sys.stderr)
        summary = {"outcome": TaskOutcome.FAILED.value, "error": message.splitlines()[0]}
        is_repeatable = isinstance(error, SettingsError | DBAPIError)
        _print_summary(summary | ({tasks.REPEAT: True} if is_repeatable else {}))
        return START_FAILED_CODE


def get_exit_code(result: JobResult) -> int:
    """Return 1 for a failure, else 0."""
    return 1 if result.outcome is TaskOutcome.FAILED else 0


def run_and_record(engine: Engine, task: str, trigger: Trigger, work: Callable[[], JobResult]) -> JobResult:
    """Do the work, record and print the result in every case, and return it with the printed summary.

    An event-triggered pass without anything to do records nothing. None of them records a heartbeat, which proves that
    the task's timer works.
    """
    started_at, clock = now(), time.monotonic()
    result, trace = _try_work(work)
    summary = {"task": task, "outcome": result.outcome.value, **result.summary}
    summary["seconds"] = round(time.monotonic() - clock, 3)
    repeat = {tasks.REPEAT: True} if result.again and result.outcome in REPEATABLE else {}
    summary |= repeat
    code = get_exit_code(result)
    idle = trigger is Trigger.EVENT and result.outcome in (TaskOutcome.NOOP, TaskOutcome.SKIPPED)
    if not idle:
        with writing(engine) as session:
            row = tasks.record_run(
                session, task, trigger, result.outcome, started_at, exit_code=code, summary=summary, output_tail=trace
            )
            summary["task_run"] = row
            if trigger is not Trigger.EVENT:
                tasks.record_outcome(session, task, choose_status(result.outcome), result.summary | repeat)
    _print_summary(summary)
    return replace(result, summary=summary)


def _try_work(work: Callable[[], JobResult]) -> tuple[JobResult, str]:
    """Do the work. Returns the result and, after an exception, the traceback."""
    try:
        return work(), ""
    except StoreUnavailable as error:
        reason = f"The store was not available: {error.orig}."
        print(reason, file=sys.stderr)
        return JobResult(TaskOutcome.FAILED, {"error": reason}, again=True), ""
    except Exception as error:
        reason = describe_error(error)
        trace = "".join(traceback.format_tb(error.__traceback__)) + reason
        print(trace, file=sys.stderr)
        return JobResult(TaskOutcome.FAILED, {"error": reason}), trace


def describe_error(error: Exception) -> str:
    """Describe an exception by its type and first line, without the parameters, which may contain people's texts."""
    first_line = SHAPES.clean_text(str(error)).partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"[:MAX_ERROR_CHARACTERS]


def choose_status(outcome: TaskOutcome) -> str:
    """Return the status of a heartbeat for an outcome: ok, warning or failed."""
    return {TaskOutcome.FAILED: "failed", TaskOutcome.WARNING: "warning"}.get(outcome, "ok")


def _print_summary(summary: dict[str, Any]) -> None:
    print(json.dumps(summary, default=str), flush=True)
