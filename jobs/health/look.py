"""The job `health-check`: evaluate every check, store the results, and let incidents follow."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from database import reading, writing
from jobs import pickup
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult, run_and_record
from models import HealthStatus, Run, RunState, TaskOutcome, Trigger
from tickets.alerts import telegram_log
from tickets.operations import health, incident_tracking, incidents, local_checks, store_checks, task_checks
from tickets.operations.health import HealthReport
from tickets.operations.health_check import HealthCheck
from tickets.operations.start_grace import StartGrace
from tickets.schedule import task_files, tasks
from tickets.shared import events
from workers.host import processes
from workers.host.job_thread import JobThread

from . import host_checks

TASK = "health-check"
VERDICT = "verdict"
"""Heartbeat with the last verdict."""
BOOT_SECONDS = 300.0
"""Time after the start of the machine in which the timers of systemd begin."""
WRITES = HealthCheck("writes", HealthStatus.OK, "the store is writable")


def run_pass(context: JobContext, trigger: Trigger, *, task: str = TASK) -> JobResult:
    """Make one look and record it as its task, unless the scheduler of this host has looked moments ago."""
    return run_and_record(context.engine, task, trigger, lambda: _look_if_due(context))


def _look_if_due(context: JobContext) -> JobResult:
    with reading(context.engine) as session:
        age = health.measure_age(session, context.host)
    if age is not None and age.total_seconds() < 2 * health.LOOK_SECONDS:
        return JobResult(TaskOutcome.NOOP, {"reason": "the scheduler has checked moments ago"})
    was_prevented = age is not None and age > health.LOOK_LIMIT
    has_booted = time.clock_gettime(time.CLOCK_BOOTTIME) < BOOT_SECONDS
    report = make_look(context, just_started=was_prevented or has_booted)
    return JobResult(
        TaskOutcome.NOOP, {"verdict": report.verdict, "causes": [cause.check.name for cause in report.causes]}
    )


def make_look(context: JobContext, *, just_started: bool = False) -> HealthReport:
    """Evaluate all checks, store them, and return the report. `just_started`: this program started moments ago."""
    on_host, in_store = host_checks.run_host_checks(context), examine_store(context, just_started=just_started)
    evidence_by_incident = _find_settled(context)
    with writing(context.engine) as session:
        health.store_results(session, "", [*in_store, WRITES])
        health.store_results(session, context.host, on_host)
        session.flush()
        report = health.build_report(health.load_results(session))
        for incident_id, evidence in evidence_by_incident.items():
            incidents.close_incident(session, incident_id, evidence, incident_tracking.HEALTH)
        incident_tracking.track_incidents(session, report)
        _record_verdict(session, report)
    return report


def examine_store(context: JobContext, *, just_started: bool = False) -> list[HealthCheck]:
    """Evaluate the checks that the store can answer. A store that cannot be read is itself the result."""
    folder = task_files.SHIPPED_TASKS
    try:
        with reading(context.engine) as session:
            scheduled = task_checks.check_tasks(session, context.settings, folder, just_started=just_started)
            in_store = store_checks.check_store(session, just_started=just_started)
            return [*scheduled, *in_store, *telegram_log.check_bot(session)]
    except DatabaseError as error:
        return [local_checks.report_damage(str(error.orig))]


def _record_verdict(session: Session, report: HealthReport) -> None:
    """Append an event when the verdict or its causes have changed."""
    names = [cause.check.name for cause in report.causes]
    state = {"verdict": report.verdict, "causes": names[: tasks.MAX_ITEMS]}
    last = tasks.load_heartbeats(session).get(VERDICT)
    if last is None or tasks.read_summary(last) != state:
        tasks.record_heartbeat(session, VERDICT, HealthStatus.OK, summary=state)
        words = [cause.sentence for cause in report.causes][:10]
        events.append(
            session, None, "health_changed", {"verdict": report.verdict, "causes": words}, incident_tracking.HEALTH
        )


def _find_settled(context: JobContext) -> dict[int, str]:
    """Find the incidents that other jobs opened whose condition is proven to be gone, with the evidence, by id."""
    with reading(context.engine) as session:
        judged = {
            incident.id: verify(session, context, number)
            for incident in incident_tracking.list_open(session)
            for kind, _, number in [incident.fingerprint.partition(":")]
            if (verify := SETTLED.get(kind))
        }
    return {incident_id: evidence for incident_id, evidence in judged.items() if evidence}


def _verify_dead(session: Session, context: JobContext, run_id: str) -> str | None:
    """Return evidence that a run whose processes survived KILL has none any more. Only its own host can tell."""
    run = session.get(Run, int(run_id))
    if run is None or (run.host == context.host and not processes.find_by_marker(context.marker(run.id))):
        return "No process of the run is left."
    return None


def _verify_settled(session: Session, _: JobContext, run_id: str) -> str | None:
    run = session.get(Run, int(run_id))
    return "The run has ended." if run is None or run.state is RunState.ENDED else None


def _verify_pickup(session: Session, _: JobContext, __: str) -> str | None:
    """Return evidence that pickup can observe again: its last timer run, which would have failed."""
    beat = tasks.load_heartbeats(session).get(pickup.TASK)
    is_fine = beat is not None and beat.status == HealthStatus.OK
    return f"The task {pickup.TASK} has observed what runs since." if is_fine else None


SETTLED: dict[str, Callable[[Session, JobContext, str], str | None]] = {
    "undead": _verify_dead,
    "unsettled": _verify_settled,
    "pickup": _verify_pickup,
}
"""How each kind of incident, the first part of its fingerprint, is verified to be gone."""


class Looker:
    """Makes a look in a thread of its own, as a program that hangs must not stop the scheduler."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._context = context
        self._grace = StartGrace(health.LOOK_SECONDS)
        self._last = -health.LOOK_SECONDS
        self._thread = JobThread("health", "checking health", log)

    @property
    def is_looking(self) -> bool:
        return self._thread.is_alive

    def tick(self) -> None:
        """Begin a look when one is due and none is being made."""
        if self.is_looking or time.monotonic() - self._last < health.LOOK_SECONDS:
            return
        self._last = time.monotonic()
        self._thread.start(self._work)

    def _work(self) -> None:
        try:
            make_look(self._context, just_started=self._grace.is_starting())
        except Exception:  # readers see that the results are old
            self._grace.restart()
            raise
