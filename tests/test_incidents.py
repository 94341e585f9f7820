"""Incidents count, and come back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import HealthStatus, Incident, IncidentState, TicketComment, TicketEvent, now
from tickets.operations import health, incident_tracking, incidents
from tickets.operations.health_check import HealthCheck
from tickets.operations.incidents import raise_incident

from .test_spine import make

pytestmark = pytest.mark.both_databases


def test_a_condition_has_one_incident_that_counts(engine: Engine) -> None:
    for number in range(3):
        with writing(engine) as session:
            raise_incident(session, "tmux", "tmux does not answer", f"look {number}")

    with reading(engine) as session:
        incident = session.scalars(select(Incident)).one()
    assert (incident.count, incident.recurrence, incident.detail) == (3, 0, "look 2")
    assert incident.state is IncidentState.OPEN


def test_a_condition_that_outlives_its_closed_incident_reopens_it_and_tells_its_ticket(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        raise_incident(session, "undead", "A process cannot be ended", ticket_id=ticket_id)
        session.execute(update(Incident).values(state=IncidentState.CLOSED, closed_by="alice", evidence="gone"))

    with writing(engine) as session:
        reopened = raise_incident(session, "undead", "A process cannot be ended", ticket_id=ticket_id)

    assert (reopened.state, reopened.recurrence, reopened.count) == (IncidentState.OPEN, 1, 2)
    assert reopened.closed_by is None
    with reading(engine) as session:
        comments = session.scalars(select(TicketComment.body).where(TicketComment.ticket_id == ticket_id)).all()
    assert ["reopened (recurrence 1)" in words for words in comments] == [True]


def track(engine: Engine, *checks: HealthCheck) -> list[tuple[str, str, str, int]]:
    """Let incidents follow these checks, and return fingerprint, state, severity and recurrence of each."""
    with writing(engine) as session:
        incident_tracking.track_incidents(session, health.build_report(checks))
    with reading(engine) as session:
        rows = session.scalars(select(Incident).order_by(Incident.id))
        return [(row.fingerprint, row.state.value, row.severity, row.recurrence) for row in rows]


def fail(name: str, minutes: float, status: HealthStatus = HealthStatus.FAILED) -> HealthCheck:
    """Make a check that has had this status for some minutes."""
    return HealthCheck(name, status, f"{name} is {status}", "Mend it.", now() - timedelta(minutes=minutes))


def test_only_a_root_cause_that_lasts_opens_an_incident(engine: Engine) -> None:
    assert track(engine, fail("tmux", 0.1)) == []
    paused = fail("dispatch", 9, HealthStatus.WARNING)
    assert track(engine, fail("tmux", 1), fail("ticket-pickup", 1), paused) == [("check:tmux", "open", "critical", 0)]
    track(engine, fail("tmux", 2))
    with reading(engine) as session:
        assert session.scalars(select(Incident.count)).all() == [1], "seen again, not come again"


def test_an_incident_closes_with_evidence_when_its_check_is_right_and_comes_back_as_itself(engine: Engine) -> None:
    track(engine, fail("tmux", 1))
    right = HealthStatus.OK
    assert track(engine, fail("tmux", 1, right)) == [("check:tmux", "open", "critical", 0)], "not yet"
    assert track(engine, fail("tmux", 3, right)) == [("check:tmux", "closed", "critical", 0)]
    with reading(engine) as session:
        incident = session.scalars(select(Incident)).one()
    assert incident.closed_by == "health" and "tmux has passed since" in str(incident.evidence)
    assert track(engine, fail("tmux", 1, HealthStatus.WARNING)) == [("check:tmux", "open", "warning", 1)]
    assert track(engine) == [("check:tmux", "closed", "warning", 1)], "nothing checks it any more"


def test_an_incident_escalates_while_nobody_acknowledges_it(engine: Engine) -> None:
    def age_incidents(minutes: int) -> None:
        with writing(engine) as session:
            session.execute(update(Incident).values(opened=now() - timedelta(minutes=minutes)))

    with writing(engine) as session:
        number = raise_incident(session, "undead:7", "A process cannot be ended").id
    for minutes, escalations in ((29, 0), (31, 1), (119, 1), (121, 2), (479, 2), (481, 3), (9999, 3)):
        age_incidents(minutes)
        track(engine)
        with reading(engine) as session:
            incident = session.get_one(Incident, number)
            assert (incident.escalations, incident.severity) == (escalations, "critical" if escalations else "warning")
    with reading(engine) as session:
        escalation_events = session.scalars(
            select(TicketEvent).where(TicketEvent.event_type == "incident_escalated")
        ).all()
        assert len(escalation_events) == 3
    with writing(engine) as session:
        incidents.close_incident(session, number, "killed", incident_tracking.HEALTH)
        raise_incident(session, "undead:7", "A process cannot be ended")
        incidents.acknowledge_incident(session, number, incident_tracking.HEALTH)
    age_incidents(31)
    track(engine)
    with reading(engine) as session:
        assert session.get_one(Incident, number).escalations == 0, "somebody is on it"
