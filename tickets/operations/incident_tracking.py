"""Incidents that follow the health checks: opened for root causes, escalated while nobody reacts, closed with evidence."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Incident, IncidentState, format_clock, now
from tickets.shared.actors import Actor

from . import incidents
from .health import HealthReport, RootCause
from .health_check import HealthCheck

HEALTH = Actor.system("health")
OPEN_STATES = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
CONFIRMATION = timedelta(seconds=15)
"""How long a check must have been wrong before it opens an incident."""
RIGHT_BEFORE_CLOSE = timedelta(minutes=2)
"""How long a check must have been right before its incident is closed."""
ESCALATION_TIMES = (timedelta(minutes=30), timedelta(hours=2), timedelta(hours=8))
"""Age of an open incident, which nobody has acknowledged, at its first, second and third escalation."""
WITHOUT_INCIDENT = frozenset({"dispatch", "incidents", "needs-you"})
"""Checks that tell of a person's decision, or of incidents and tickets which have an entry of their own."""
SEVERITIES = {1: "warning", 2: "critical"}


def track_incidents(session: Session, report: HealthReport) -> None:
    """Open, escalate and close incidents by a new report."""
    open_incidents = {row.fingerprint: row for row in list_open(session)}
    for cause in report.causes:
        if cause.check in report.checks:  # not one that passes again
            _open_incident(session, cause, open_incidents)
    by_name = {check.name: check for check in sorted(report.checks, key=lambda check: check.rank)}
    for fingerprint, incident in open_incidents.items():
        if fingerprint.startswith(incidents.CHECK_PREFIX):
            _close_incident(session, incident, by_name.get(fingerprint.removeprefix(incidents.CHECK_PREFIX)))
    for incident in open_incidents.values():
        _escalate(session, incident)


def list_open(session: Session) -> list[Incident]:
    """List the incidents that are not closed."""
    return list(session.scalars(select(Incident).where(Incident.state.in_(OPEN_STATES))))


def _open_incident(session: Session, cause: RootCause, open_incidents: dict[str, Incident]) -> None:
    """Open the incident of a cause that is wrong for long enough. An open one is not counted again."""
    check = cause.check
    fingerprint = incidents.CHECK_PREFIX + check.name
    if check.name in WITHOUT_INCIDENT or check.since is None or now() - check.since < CONFIRMATION:
        return
    title, detail = check.detail, describe_consequences(cause)
    incident = open_incidents.get(fingerprint)
    if incident is None:
        incidents.raise_incident(session, fingerprint, title, detail, severity=SEVERITIES[check.rank], actor=HEALTH)
    elif (incident.title, incident.detail) != (title, detail):
        incidents.refresh_incident(session, incident, title, detail)


def describe_consequences(cause: RootCause) -> str:
    """Describe what to do, and which other checks the cause explains."""
    names = sorted({check.name for check in cause.explains})
    return f"{cause.check.remedy} Also affects: {', '.join(names)}." if names else cause.check.remedy


def _close_incident(session: Session, incident: Incident, check: HealthCheck | None) -> None:
    if check is None:
        incidents.close_incident(session, incident.id, "This is no longer checked.", HEALTH)
    elif check.ok and check.since is not None and now() - check.since >= RIGHT_BEFORE_CLOSE:
        evidence = f"The check {check.name} has passed since {format_clock(check.since)}: {check.detail}."
        incidents.close_incident(session, incident.id, evidence, HEALTH)


def _escalate(session: Session, incident: Incident) -> None:
    """Raise the severity of an incident that nobody has acknowledged in time."""
    session.refresh(incident)
    times = ESCALATION_TIMES[incident.escalations :]
    if incident.state is IncidentState.OPEN and times and now() - incident.opened >= times[0]:
        incidents.escalate_incident(session, incident.id, HEALTH)
