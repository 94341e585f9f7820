"""Incidents: one per condition, counted when it is seen again, and reopened after it was closed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Incident, IncidentState, now
from tickets.lifecycle import comments
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, NotFound

from . import inbox_items

OPERATOR = Actor.system("operator")
PICKUP_PREFIX = "pickup:"
"""Prefix of the fingerprint of what makes the task of pickup fail, as the check of that task says."""
CHECK_PREFIX = "check:"
"""Prefix of the fingerprint of an incident that a health check opened, with the name of the check after it."""
OPERATOR_PREFIX = "operator:"
"""Prefix of the fingerprint of a condition that the task `operator` observes."""
FOLLOW_UP_PREFIX = "follow-up:"
"""Prefix of the fingerprint of a missed check-in that nobody has reacted to, with the ticket's id after it."""


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
    """Open the incident of this condition, or count it again. A closed one is reopened with recurrence + 1."""
    incident = session.scalar(select(Incident).where(Incident.fingerprint == fingerprint))
    if incident is None:
        new_incident = Incident(
            fingerprint=fingerprint, title=title, detail=detail, severity=severity, ticket_id=ticket_id
        )
        session.add(new_incident)
        session.flush()
        _append_event(session, new_incident, "incident_opened", actor)
        return new_incident
    reopens = incident.state is IncidentState.CLOSED
    values = {"count": incident.count + 1, "last_seen": now(), "title": title, "detail": detail, "severity": severity}
    if reopens:
        values |= {
            "state": IncidentState.OPEN,
            "recurrence": incident.recurrence + 1,
            "escalations": 0,
            "opened": now(),
            "acknowledged_by": None,
            "closed_by": None,
            "evidence": None,
        }
    session.execute(update(Incident).where(Incident.id == incident.id).values(**values))
    session.refresh(incident)
    if reopens:
        _append_event(session, incident, "incident_reopened", actor)
        _comment_on_ticket(session, incident)
    return incident


def refresh_incident(session: Session, incident: Incident, title: str, detail: str) -> None:
    """Record that the condition of an open incident was seen again, with its present title and detail."""
    values = {"title": title, "detail": detail, "last_seen": now()}
    session.execute(update(Incident).where(Incident.id == incident.id).values(**values))


def list_incidents(session: Session, state: IncidentState, limit: int = 50) -> list[Incident]:
    """List the incidents in one state, the most recently seen first."""
    query = select(Incident).where(Incident.state == state).order_by(Incident.last_seen.desc(), Incident.id.desc())
    return list(session.scalars(query.limit(limit)))


def acknowledge_incident(session: Session, incident_id: int, actor: Actor) -> Incident:
    """Acknowledge an incident, which continues to count. Raises `ConflictError` unless it is open."""
    values = {"state": IncidentState.ACKNOWLEDGED, "acknowledged_by": actor.name}
    return _change_state(session, incident_id, (IncidentState.OPEN,), values, "incident_acknowledged", actor)


def escalate_incident(session: Session, incident_id: int, actor: Actor) -> Incident:
    """Raise the severity of an incident that nobody has acknowledged, and tell of it again."""
    values = {"severity": "critical", "escalations": Incident.escalations + 1}
    return _change_state(session, incident_id, (IncidentState.OPEN,), values, "incident_escalated", actor)


def close_incident(session: Session, incident_id: int, evidence: str, actor: Actor) -> Incident:
    """Close an incident, and settle the inbox items about it, with evidence that its cause is gone.

    Raises `Invalid` without evidence, `ConflictError` when closed.
    """
    if not evidence.strip():
        raise Invalid("Enter the evidence that the cause is fixed.", field="evidence")
    values = {"state": IncidentState.CLOSED, "closed_by": actor.name, "evidence": evidence.strip()[:4000]}
    sources = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
    incident = _change_state(session, incident_id, sources, values, "incident_closed", actor)
    inbox_items.settle_incident_items(session, incident_id, f"The incident is closed: {values['evidence']}", actor)
    return incident


def _change_state(
    session: Session,
    incident_id: int,
    sources: tuple[IncidentState, ...],
    values: dict[str, Any],
    event_type: str,
    actor: Actor,
) -> Incident:
    """Make one guarded update and append its event."""
    statement = update(Incident).where(Incident.id == incident_id, Incident.state.in_(sources)).values(**values)
    updated = session.scalar(statement.returning(Incident).execution_options(populate_existing=True))
    if updated is None:
        present = session.get(Incident, incident_id)
        if present is None:
            raise NotFound("There is no incident with that number.", incident=incident_id)
        raise ConflictError(f"The incident is already {present.state.value}.", incident=incident_id)
    _append_event(session, updated, event_type, actor)
    return updated


def _append_event(session: Session, incident: Incident, event_type: str, actor: Actor) -> None:
    payload = {"incident": incident.id, "title": incident.title, "detail": incident.detail[:2000]}
    facts = {"severity": incident.severity, "recurrence": incident.recurrence}
    events.append(session, incident.ticket_id, event_type, {**payload, **facts}, actor)


def _comment_on_ticket(session: Session, incident: Incident) -> None:
    if incident.ticket_id is not None:
        words = f"The incident “{incident.title}” was closed and has reopened (recurrence {incident.recurrence})."
        comments.write(session, incident.ticket_id, words)
