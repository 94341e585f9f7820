"""Is it working? Every check with what it saw, and one verdict: working, degraded or not working."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import and_, func, or_, select
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
    RunMode,
    RunState,
    TaskOutcome,
    Ticket,
    ago,
    now,
)
from tickets.shared import runtime_flags
from tickets.workflow import landing

from . import tasks

Status = Literal["ok", "warning", "failed"]

BEATS = {"pickup": timedelta(minutes=5), "scheduler": timedelta(minutes=3), "landing": timedelta(minutes=5)}
SILENT = timedelta(seconds=45)
STARTING = timedelta(minutes=5)
UNTAKEN = timedelta(minutes=5)
LANDING = timedelta(minutes=30)
RUNS_NAMED = 20
DISK_WARNING = 2 << 30
DISK_FAILURE = 256 << 20
WAL_WARNING = 256 << 20

# Every page asks for the verdict, and to build a statement costs more than to run it: these are built once.
UNHEARD = (
    select(Run.id)
    .where(
        Run.state != RunState.ENDED,
        Run.mode != RunMode.EXTERNAL,
        or_(
            Run.heartbeat < ago(SILENT),
            and_(Run.heartbeat.is_(None), Run.started < ago(STARTING)),
        ),
    )
    .limit(RUNS_NAMED)
)
LANDINGS = (
    select(Ticket)
    .where(Ticket.landing == LandingState.PENDING)
    .order_by(Ticket.id)
    .options(load_only(Ticket.identifier, Ticket.landing_plan))
)
SIGNS = select(
    select(func.count()).select_from(UNHEARD.subquery()).scalar_subquery().label("silent"),
    select(func.count(QueuedMessage.id))
    .where(QueuedMessage.state == DeliveryState.QUEUED, QueuedMessage.offered < ago(UNTAKEN))
    .scalar_subquery()
    .label("undelivered"),
    select(func.count(Ticket.id)).where(Ticket.landing == LandingState.PENDING).scalar_subquery().label("landings"),
    select(func.count(Incident.id)).where(Incident.state == IncidentState.OPEN).scalar_subquery().label("incidents"),
)
"""How much there is of what may be wrong; what is found is looked at."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`reasons` are the details of all checks that are not ok, the worst first."""

    verdict: str
    reasons: list[str]
    checks: list[Check]


def verdict(session: Session, home: Path, *seen: Check) -> HealthReport:
    """Look at everything once, a handful of queries and one look at the disk; `seen` is what the caller has checked."""
    beats, signs = tasks.heartbeats(session), fetch_rows(session, SIGNS).one()
    checks = [
        *(_beat(name, limit, beats.get(name)) for name, limit in BEATS.items()),
        _pause(session),
        _silent_runs(session, signs.silent),
        _undelivered(signs.undelivered),
        _landings(session, signs.landings),
        _incidents(signs.incidents),
        _disk(home),
        _database(session),
        *seen,
    ]
    wrong = sorted((check for check in checks if check.status != "ok"), key=lambda check: check.status != "failed")
    return HealthReport(_word(checks), [f"{check.name.capitalize()}: {check.detail}" for check in wrong], checks)


def _word(checks: list[Check]) -> str:
    if any(check.status == "failed" for check in checks):
        return "not working"
    return "degraded" if any(check.status == "warning" for check in checks) else "working"


def _beat(name: str, limit: timedelta, beat: Heartbeat | None) -> Check:
    if beat is None:
        return Check(name, "warning", "has never been seen on this instance")
    age = abs(now() - beat.ts)  # where the clock was set back, what was seen then is no sign of life
    if age > limit:
        return Check(name, "failed", f"was last seen {_span(age)} ago")
    if beat.status == "ok":
        return Check(name, "ok", f"seen {_span(age)} ago")
    status: Status = "failed" if beat.status == TaskOutcome.FAILED else "warning"
    return Check(name, status, _trouble(beat) or f"its last run ended as {beat.status}, {_span(age)} ago")


def _trouble(beat: Heartbeat) -> str:
    """What the program itself said is wrong: the `error` or `problems` of its JSON summary."""
    try:
        said = json.loads(beat.detail)
    except ValueError:
        return beat.detail
    problems = said.get("problems") or [said.get("error")] if isinstance(said, dict) else []
    return "; ".join(str(problem) for problem in problems if problem)


def _span(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _pause(session: Session) -> Check:
    reason = runtime_flags.paused(session)
    return Check("dispatch", "warning", f"paused: {reason}") if reason else Check("dispatch", "ok", "not paused")


def _silent_runs(session: Session, count: int) -> Check:
    """Live runs without a beat for longer than three of them, or without a first one after any start's time."""
    silent = session.scalars(UNHEARD).all() if count else []
    if not silent:
        return Check("runs", "ok", "every live run is heard")
    return Check(
        "runs", "warning", f"not heard for {_span(SILENT)}: {', '.join(f'run {number}' for number in sorted(silent))}"
    )


def _undelivered(count: int) -> Check:
    """Messages that a live run was offered long ago and has not taken."""
    return Check(
        "messages", "warning" if count else "ok", f"{count} wait for more than 5 min" if count else "none late"
    )


def _landings(session: Session, count: int) -> Check:
    """Approved work that has long waited to be landed: its machine may be gone, or nobody lands there."""
    late = [
        each.identifier
        for each in (session.scalars(LANDINGS) if count else ())
        if (plan := landing.of(each)) and plan.since < now() - LANDING
    ]
    if not late:
        return Check("landings", "ok", "none late")
    return Check("landings", "warning", f"waiting for more than {_span(LANDING)}: {', '.join(late[:RUNS_NAMED])}")


def _incidents(count: int) -> Check:
    word = "incident" if count == 1 else "incidents"
    return Check("incidents", "warning" if count else "ok", f"{count} open {word}" if count else "none open")


def _disk(home: Path) -> Check:
    free = shutil.disk_usage(home).free
    status: Status = "failed" if free < DISK_FAILURE else "warning" if free < DISK_WARNING else "ok"
    return Check("disk", status, f"{free / (1 << 30):.1f} GB free")


def _database(session: Session) -> Check:
    sizes = database_sizes(session)
    words = f"{sizes['database'] / (1 << 20):.1f} MB, log {sizes['wal'] / (1 << 20):.1f} MB"
    return Check("database", "warning" if sizes["wal"] > WAL_WARNING else "ok", words)
