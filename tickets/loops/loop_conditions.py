"""Loops and checks that are wrong, as the task `operator` reports them: the health report, and tasks that only skip."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import TaskOutcome, TaskRun, ago, now
from settings import Settings
from tickets.operations import health, incident_tracking
from tickets.operations.health import RootCause
from tickets.operations.incidents import CHECK_PREFIX, OPERATOR_PREFIX
from tickets.schedule import cron, task_files, tasks
from tickets.shared import runtime_flags

from .conditions import Condition, Observation, format_title

OTHER_CHECKS = incident_tracking.WITHOUT_INCIDENT | {"check-ins"}
"""Checks that tell of a person's decision, or of what another condition or task reports."""
SKIPPING_PREFIX = f"{OPERATOR_PREFIX}skipping:"
INTERVAL = timedelta(hours=1)
"""The longest time between two runs of a task that is looked at."""


def find_failed_checks(session: Session, settings: Settings) -> Observation:
    """Find the root causes of the health report that last, with the incidents of the health checks.

    These are closed by the health check, as it sees sooner when they are gone.
    """
    report = health.build_report(health.load_results(session))
    cutoff = now() - timedelta(minutes=settings.operator.health_minutes)
    causes = [cause for cause in report.causes if cause.check in report.checks and _is_due(cause, cutoff)]
    worst_by_name = {cause.check.name: cause for cause in reversed(causes)}  # of several hosts
    return Observation(CHECK_PREFIX, [_describe_cause(cause) for cause in worst_by_name.values()], is_complete=False)


def _is_due(cause: RootCause, cutoff: datetime) -> bool:
    check = cause.check
    return check.name not in OTHER_CHECKS and check.since is not None and check.since < cutoff


def _describe_cause(cause: RootCause) -> Condition:
    check = cause.check
    severity = incident_tracking.SEVERITIES[check.rank]
    advice = incident_tracking.describe_consequences(cause)
    return Condition(f"{CHECK_PREFIX}{check.name}", check.detail, advice, severity, since=check.since)


def find_skipping_tasks(session: Session, settings: Settings) -> Observation:
    """Find the enabled tasks, due at least every hour, whose every run of many hours was skipped without a pause."""
    if runtime_flags.get_pause_reason(session):
        return Observation(SKIPPING_PREFIX, [])
    beats, decisions = tasks.load_heartbeats(session), tasks.load_decisions(session)
    since = _find_skipped(session, timedelta(hours=settings.operator.skipped_hours))
    names = [
        name
        for name, task in cron.load_tasks(task_files.SHIPPED_TASKS)[0].items()
        if name in since and task.is_interval and decisions.get(name, task.head.enabled)
    ]
    conditions = []
    for name in names:
        summary = tasks.read_summary(beats[name]) if name in beats else {}
        reason = tasks.describe_skip(summary) or "no reason was given"
        title = format_title(f"The task {name} has done nothing for {settings.operator.skipped_hours} h: {reason}")
        conditions.append(Condition(f"{SKIPPING_PREFIX}{name}", title, "See its runs on the Tasks page."))
    return Observation(SKIPPING_PREFIX, conditions)


def _find_skipped(session: Session, window: timedelta) -> set[str]:
    """Find the tasks of which all runs within the window were skipped, from its beginning on."""
    query = select(TaskRun.task, TaskRun.outcome, TaskRun.started).where(TaskRun.started > ago(window))
    outcomes: dict[str, set[TaskOutcome | None]] = defaultdict(set)
    starts: dict[str, datetime] = {}
    for task, outcome, start in fetch_rows(session, query.order_by(TaskRun.started)):
        outcomes[task].add(outcome)
        starts.setdefault(task, start)
    begin = now() - window + INTERVAL
    return {task for task, start in starts.items() if outcomes[task] == {TaskOutcome.SKIPPED} and start < begin}
