"""Health checks of the scheduler and of every scheduled task: is it enabled, did it run when it was due, and how did it end?"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import CatchUp, HealthStatus, Heartbeat, Switch, TaskState, now
from settings import Settings
from tickets.schedule import cron, tasks
from tickets.schedule.cron import Task, TaskFolder
from tickets.shared import runtime_flags

from .health_check import OWN_TASK_PREFIX, HealthCheck, format_span

SCHEDULER_LIMIT = timedelta(seconds=90)
LATE_LIMIT = timedelta(seconds=60)
"""How long after its time a task may begin, or end where it takes no longer."""
HINDERED_LIMIT = timedelta(seconds=90)
"""How long a task may fail because of an obstacle that may go in a moment. It is repeated every 30 seconds."""
RUN_NOW = "Run it from the Tasks page and check its output."


def check_tasks(session: Session, settings: Settings, folder: Path, *, just_started: bool) -> list[HealthCheck]:
    """Check the scheduler, where it is in use, and each task of the folder and of the home.

    `just_started`: the caller's program has started moments ago, so that what is overdue is not yet a fault.
    """
    beats = tasks.load_heartbeats(session)
    decisions = {state.task: state for state in session.scalars(select(TaskState))}
    scheduler = beats.get(tasks.SCHEDULER)
    first = _find_beginning(session)
    checks = [_check_scheduler(scheduler, first, just_started=just_started)] if settings.scheduler else []
    running = _list_running(scheduler)
    for task in (
        _open_folder(folder, settings.tasks_dir).load()[0].values()
    ):  # the scheduler reports problems with the other files
        beat, decision = beats.get(task.name), decisions.get(task.name)
        if not (decision.enabled if decision else task.head.enabled):
            checks.append(_name_check(task, _check_disabled(task, decision)))
        else:
            start = beat.ts if beat else max(first, task.added)
            start = start if task.is_shipped else max(start, task.added)  # a person may have changed its line
            start = max(start, decision.changed) if decision else start
            is_made_up = task.head.catch_up is not CatchUp.SKIP
            is_late = not just_started and is_made_up and _is_late(task, start, settings, task.name in running)
            checks.append(_name_check(task, _check_task(task, beat, start, is_late)))
    return checks


def _name_check(task: Task, check: HealthCheck) -> HealthCheck:
    """Name the check of a person's own task so that it is no other check's."""
    return check if task.is_shipped else replace(check, name=f"{OWN_TASK_PREFIX}{task.name}")


def check_scheduler(session: Session) -> HealthCheck:
    """Check the heartbeat of the scheduler."""
    return _check_scheduler(tasks.load_heartbeats(session).get(tasks.SCHEDULER), _find_beginning(session))


def _find_beginning(session: Session) -> datetime:
    """Find when the store was made or restored, before which nothing can have run."""
    return session.scalar(select(Switch.changed).where(Switch.name == runtime_flags.EPOCH)) or now()


@lru_cache(1)
def _open_folder(folder: Path, own: Path) -> TaskFolder:
    return TaskFolder(folder, own)


def _check_scheduler(beat: Heartbeat | None, first: datetime, *, just_started: bool = False) -> HealthCheck:
    """Check the heartbeat, which may be missing right after `first`, and old where the caller has just started."""
    is_stale = beat is None or abs(now() - beat.ts) > SCHEDULER_LIMIT
    if is_stale and (just_started or (beat is None and now() - first < SCHEDULER_LIMIT)):
        return HealthCheck(tasks.SCHEDULER, HealthStatus.OK, "is about to start")
    remedy = "Restart Mission Control with bin/run. The scheduler's log is on the Logs page."
    if beat is None or is_stale:
        age_text = f"was last seen {format_span(abs(now() - beat.ts))} ago" if beat else "has not been seen yet"
        text = f"The scheduler {age_text}, so no scheduled tasks run."
        return HealthCheck(tasks.SCHEDULER, HealthStatus.FAILED, text, remedy)
    if beat.status != HealthStatus.OK:
        text = f"The scheduler reports: {_describe_trouble(beat) or beat.status}."
        return HealthCheck(tasks.SCHEDULER, HealthStatus(beat.status), text, "Fix the file it names in tasks/.")
    return HealthCheck(tasks.SCHEDULER, HealthStatus.OK, f"seen {format_span(abs(now() - beat.ts))} ago")


def _list_running(beat: Heartbeat | None) -> set[str]:
    """List the tasks that the scheduler was running at its last heartbeat."""
    return set(tasks.read_texts(beat, "running")) if beat and tasks.is_alive(beat) else set()


def _is_late(task: Task, start: datetime, settings: Settings, is_running: bool) -> bool:
    """Return whether a task has not run when it was due after `start`. A running one may take its timeout."""
    moment = now()
    if start > moment + LATE_LIMIT:
        return True  # the clock was set back
    due = _find_due(task, start, settings)
    allowance = timedelta(seconds=task.head.timeout) if is_running else LATE_LIMIT
    return moment > due + max(allowance, LATE_LIMIT)


def _find_due(task: Task, start: datetime, settings: Settings) -> datetime:
    """Find when a task is due after `start`. The timers of systemd count its interval from the end of its last run."""
    if settings.scheduler:
        return cron.find_next_time(task, start, settings.zone, cron.choose_offset(settings.instance))
    due = cron.find_next_time(task, start, settings.zone)
    return start + (cron.find_next_time(task, due, settings.zone) - due) if task.is_interval else due


def _check_disabled(task: Task, decision: TaskState | None) -> HealthCheck:
    if not task.head.enabled:
        return HealthCheck(task.name, HealthStatus.OK, "disabled")
    author = f" by {decision.changed_by}" if decision else ""
    purpose = task.head.description[:1].lower() + task.head.description[1:]
    text = f"The task {task.name} was disabled{author}, so this does not happen: {purpose}"
    return HealthCheck(task.name, HealthStatus.WARNING, text, "Enable it on the Tasks page.")


def _check_task(task: Task, beat: Heartbeat | None, start: datetime, is_late: bool) -> HealthCheck:
    """Check when a task last ran and how it ended. Shipped tasks of every few minutes are needed for the board to work."""
    wrong = HealthStatus.FAILED if task.is_interval and task.is_shipped else HealthStatus.WARNING
    if is_late:
        age_text = f"last ran {format_span(abs(now() - start))} ago" if beat else "has never run"
        text = f"The task {task.name} {age_text}, but is scheduled {cron.describe_schedule(task)}."
        return HealthCheck(task.name, wrong, text, RUN_NOW)
    if beat is None:
        return HealthCheck(task.name, HealthStatus.OK, "has not been due yet")
    age = format_span(abs(now() - beat.ts))
    if holder := _find_lasting_holder(task, beat):
        text = f"The task {task.name} has been skipped for longer than its time limit because {holder} is doing the same work."
        return HealthCheck(task.name, wrong, text, "Stop that process if it hangs.")
    if beat.status == HealthStatus.OK:
        return HealthCheck(task.name, HealthStatus.OK, f"ran {age} ago")
    if beat.status == HealthStatus.WARNING and tasks.read_summary(beat).get(tasks.HAS_ENTRY):
        return HealthCheck(task.name, HealthStatus.OK, f"ran {age} ago, and left something to a person")
    hindered_since = tasks.find_time(beat, tasks.HINDERED_SINCE)
    if hindered_since and now() - hindered_since < HINDERED_LIMIT:
        return HealthCheck(task.name, HealthStatus.OK, f"was hindered {age} ago, and is about to run again")
    trouble = _describe_trouble(beat) or f"it ended as {beat.status}"
    status = wrong if beat.status == HealthStatus.FAILED else HealthStatus.WARNING
    return HealthCheck(
        task.name, status, f"The task {task.name} reports a problem: {trouble.removesuffix('.')}.", RUN_NOW
    )


def _find_lasting_holder(task: Task, beat: Heartbeat) -> str | None:
    """Return who has kept a task from running for longer than one run of it may take."""
    since = tasks.find_time(beat, tasks.SKIPPED_SINCE)
    if since is None or now() - since < timedelta(seconds=task.head.timeout):
        return None
    return str(tasks.read_summary(beat).get("held_by", "another program"))


def _describe_trouble(beat: Heartbeat) -> str:
    """Return the problem that the program itself reported: `error` or `problems` of its JSON summary."""
    return "; ".join(tasks.read_texts(beat, "problems")) or str(tasks.read_summary(beat).get("error") or "")
