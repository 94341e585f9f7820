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

CANNOT_BEGIN = 2
"""Exit code of a door that could not reach its store."""


class StoreOutdated(Exception):
    """The store has another schema than this version needs; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one piece of a door's work came to; `summary` is printed and kept.

    `again`: something stood in the way that will be gone in a moment.
    """

    outcome: TaskOutcome
    summary: dict[str, Any] = field(default_factory=dict)
    again: bool = False


@contextmanager
def store(settings: Settings) -> Iterator[Engine]:
    """The store's engine; raises `StoreOutdated`, or `UnsafeSQLite` before anything is touched."""
    settings.ensure_home()
    engine = open_engine(settings.database_url)
    try:
        if trouble := migrations.trouble(engine):
            raise StoreOutdated(trouble)
        yield engine
    finally:
        engine.dispose()


def run_door(work: Callable[[Settings, Engine], int]) -> int:
    """Load the settings, open the store and work; the exit code. What keeps a door from its work is said in one line."""
    try:
        settings = load()
        with store(settings) as engine:
            return work(settings, engine)
    except (SettingsError, StoreOutdated, DBAPIError, UnsafeSQLite) as error:
        words = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        print(words, file=sys.stderr)
        _say({"outcome": TaskOutcome.FAILED.value, "error": words.splitlines()[0]})
        return CANNOT_BEGIN


def exit_code(done: Done) -> int:
    """1 for a failure alone."""
    return 1 if done.outcome is TaskOutcome.FAILED else 0


def recorded(engine: Engine, task: str, check: str, trigger: Trigger, work: Callable[[], Done]) -> Done:
    """Do the work, record it whatever comes, and print it; the summary of what is returned is the one that was printed.

    A pass that an event has triggered and that found nothing to do leaves only its heartbeat.
    """
    started, clock = now(), time.monotonic()
    done, trace = _attempt(work)
    summary = {"task": task, "outcome": done.outcome.value, **done.summary}
    summary["seconds"] = round(time.monotonic() - clock, 3)
    code = exit_code(done)
    idle = trigger is Trigger.EVENT and done.outcome in (TaskOutcome.NOOP, TaskOutcome.SKIPPED)
    with writing(engine) as session:
        if not idle:
            row = tasks.record(
                session, task, trigger, done.outcome, started, exit_code=code, summary=summary, output_tail=trace
            )
            summary["task_run"] = row
        tasks.beat(session, check, _health(done.outcome), json.dumps(done.summary, default=str))
    _say(summary)
    return replace(done, summary=summary)


def _attempt(work: Callable[[], Done]) -> tuple[Done, str]:
    """What the work came to and, where it broke off, where that was."""
    try:
        return work(), ""
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        # Without the message's parameters, which may hold what people wrote.
        trace = "".join(traceback.format_tb(error.__traceback__)) + reason
        print(trace, file=sys.stderr)
        return Done(TaskOutcome.FAILED, {"error": reason[:500]}), trace


def _health(outcome: TaskOutcome) -> str:
    return {TaskOutcome.FAILED: "failed", TaskOutcome.WARNING: "warning"}.get(outcome, "ok")


def _say(summary: dict[str, Any]) -> None:
    print(json.dumps(summary, default=str), flush=True)
