"""Incidents: one for each condition, however often it is seen; none is suppressed because it was closed before."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Incident, IncidentState, now

from . import comments, events
from .actors import Actor

OPERATOR = Actor.system("operator")


def raise_incident(
    session: Session,
    fingerprint: str,
    title: str,
    detail: str = "",
    *,
    severity: str = "warning",
    ticket_id: int | None = None,
    actor: Actor = OPERATOR,
) -> Incident:
    """Open the incident of this condition, or count it up; one that was closed opens again with recurrence + 1."""
    seen = session.scalar(select(Incident).where(Incident.fingerprint == fingerprint))
    if seen is None:
        opened = Incident(fingerprint=fingerprint, title=title, detail=detail, severity=severity, ticket_id=ticket_id)
        session.add(opened)
        session.flush()
        _log(session, opened, "incident_opened", actor)
        return opened
    reopens = seen.state is IncidentState.CLOSED
    values = {"count": seen.count + 1, "last_seen": now(), "title": title, "detail": detail, "severity": severity}
    if reopens:
        values |= {"state": IncidentState.OPEN, "recurrence": seen.recurrence + 1, "closed_by": None, "evidence": None}
    session.execute(update(Incident).where(Incident.id == seen.id).values(**values))
    session.refresh(seen)
    if reopens:
        _log(session, seen, "incident_reopened", actor)
        _tell_ticket(session, seen)
    return seen


def _log(session: Session, incident: Incident, event_type: str, actor: Actor) -> None:
    payload = {"incident": incident.id, "title": incident.title, "detail": incident.detail[:2000]}
    facts = {"severity": incident.severity, "recurrence": incident.recurrence}
    events.append(session, incident.ticket_id, event_type, {**payload, **facts}, actor)


def _tell_ticket(session: Session, incident: Incident) -> None:
    if incident.ticket_id is not None:
        words = f"The incident “{incident.title}” was closed and has come back (recurrence {incident.recurrence})."
        comments.write(session, incident.ticket_id, words)
