"""Health checks of the installation, with one verdict: working, degraded or not working."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session, load_only

from database import database_sizes, fetch_rows
from models import (
    DeliveryState,
    Heartbeat,
    Incident,
    IncidentState,
    LandingState,
    QueuedMessage,
    Run,
    TaskOutcome,
    Ticket,
    ago,
    now,
)
from tickets.runs import runtime
from tickets.shared import runtime_flags
from tickets.workflow import landing

from . import tasks

Status = Literal["ok", "warning", "failed"]

HEARTBEAT_LIMITS = {"pickup": timedelta(minutes=5), "scheduler": timedelta(minutes=3), "landing": timedelta(minutes=5)}
OFFER_LIMIT = timedelta(minutes=5)
LANDING_LIMIT = timedelta(minutes=30)
MAX_NAMED = 20
DISK_WARNING = 2 << 30
DISK_FAILURE = 256 << 20
WAL_WARNING = 256 << 20

# Every page needs the verdict, and building a statement costs more than running it: these are built once.
UNHEARD_RUNS = select(Run.id).where(runtime.IS_SILENT).limit(MAX_NAMED)
PENDING_LANDINGS = (
    select(Ticket)
    .where(Ticket.landing == LandingState.PENDING)
    .order_by(Ticket.id)
    .options(load_only(Ticket.identifier, Ticket.landing_plan))
)
PROBLEM_COUNTS = select(
    select(func.count()).select_from(UNHEARD_RUNS.subquery()).scalar_subquery().label("silent"),
    select(func.count(QueuedMessage.id))
    .where(QueuedMessage.state == DeliveryState.QUEUED, QueuedMessage.offered < ago(OFFER_LIMIT))
    .scalar_subquery()
    .label("undelivered"),
    select(func.count(Ticket.id)).where(Ticket.landing == LandingState.PENDING).scalar_subquery().label("landings"),
    select(func.count(Incident.id)).where(Incident.state == IncidentState.OPEN).scalar_subquery().label("incidents"),
)
"""Counts of possible problems, so that details are queried only where there are any."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Result of one check."""

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks with a verdict. `reasons` are the details of checks that are not ok, the worst first."""

    verdict: str
    reasons: list[str]
    checks: list[HealthCheck]


def check_health(session: Session, home: Path, *extra_checks: HealthCheck) -> HealthReport:
    """Run all checks with a handful of queries and one look at the disk. `extra_checks` are results of the caller."""
    beats, signs = tasks.load_heartbeats(session), fetch_rows(session, PROBLEM_COUNTS).one()
    checks = [
        *(_check_heartbeat(name, limit, beats.get(name)) for name, limit in HEARTBEAT_LIMITS.items()),
        _check_pause(session),
        _check_silent_runs(session, signs.silent),
        _check_messages(signs.undelivered),
        _check_landings(session, signs.landings),
        _check_incidents(signs.incidents),
        _check_disk(home),
        _check_database(session),
        *extra_checks,
    ]
    wrong = sorted((check for check in checks if check.status != "ok"), key=lambda check: check.status != "failed")
    return HealthReport(_summarize(checks), [f"{check.name.capitalize()}: {check.detail}" for check in wrong], checks)


def _summarize(checks: list[HealthCheck]) -> str:
    if any(check.status == "failed" for check in checks):
        return "not working"
    return "degraded" if any(check.status == "warning" for check in checks) else "working"


def _check_heartbeat(name: str, limit: timedelta, beat: Heartbeat | None) -> HealthCheck:
    if beat is None:
        return HealthCheck(name, "warning", "has never been seen on this instance")
    age = abs(now() - beat.ts)  # a time in the future is stale too: the clock was set back
    if age > limit:
        return HealthCheck(name, "failed", f"was last seen {_format_span(age)} ago")
    if beat.status == "ok":
        return HealthCheck(name, "ok", f"seen {_format_span(age)} ago")
    status: Status = "failed" if beat.status == TaskOutcome.FAILED else "warning"
    return HealthCheck(
        name, status, _describe_trouble(beat) or f"its last run ended as {beat.status}, {_format_span(age)} ago"
    )


def _describe_trouble(beat: Heartbeat) -> str:
    """Return the problem that the program itself reported: `error` or `problems` of its JSON summary."""
    try:
        summary = json.loads(beat.detail)
    except ValueError:
        return beat.detail
    problems = summary.get("problems") or [summary.get("error")] if isinstance(summary, dict) else []
    return "; ".join(str(problem) for problem in problems if problem)


def _format_span(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _check_pause(session: Session) -> HealthCheck:
    reason = runtime_flags.get_pause_reason(session)
    return (
        HealthCheck("dispatch", "warning", f"paused: {reason}")
        if reason
        else HealthCheck("dispatch", "ok", "not paused")
    )


def _check_silent_runs(session: Session, count: int) -> HealthCheck:
    """Live runs that should have given a sign of life and did not."""
    run_ids = session.scalars(UNHEARD_RUNS).all() if count else []
    if not run_ids:
        return HealthCheck("runs", "ok", "every live run is heard")
    return HealthCheck(
        "runs",
        "warning",
        f"not heard for longer than allowed: {', '.join(f'run {number}' for number in sorted(run_ids))}",
    )


def _check_messages(count: int) -> HealthCheck:
    """Check for messages that a live run was offered long ago and has not taken."""
    return HealthCheck(
        "messages", "warning" if count else "ok", f"{count} wait for more than 5 min" if count else "none late"
    )


def _check_landings(session: Session, count: int) -> HealthCheck:
    """Check for approved work that waits too long to be landed, as its host or the landing job may be gone."""
    late = [
        ticket.identifier
        for ticket in (session.scalars(PENDING_LANDINGS) if count else ())
        if (plan := landing.get_plan(ticket)) and plan.since < now() - LANDING_LIMIT
    ]
    if not late:
        return HealthCheck("landings", "ok", "none late")
    return HealthCheck(
        "landings", "warning", f"waiting for more than {_format_span(LANDING_LIMIT)}: {', '.join(late[:MAX_NAMED])}"
    )


def _check_incidents(count: int) -> HealthCheck:
    word = "incident" if count == 1 else "incidents"
    return HealthCheck("incidents", "warning" if count else "ok", f"{count} open {word}" if count else "none open")


def _check_disk(home: Path) -> HealthCheck:
    free = shutil.disk_usage(home).free
    status: Status = "failed" if free < DISK_FAILURE else "warning" if free < DISK_WARNING else "ok"
    return HealthCheck("disk", status, f"{free / (1 << 30):.1f} GB free")


def _check_database(session: Session) -> HealthCheck:
    sizes = database_sizes(session)
    words = f"{sizes['database'] / (1 << 20):.1f} MB, log {sizes['wal'] / (1 << 20):.1f} MB"
    return HealthCheck("database", "warning" if sizes["wal"] > WAL_WARNING else "ok", words)
