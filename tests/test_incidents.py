"""Incidents count, and come back."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import Incident, IncidentState, TicketComment
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
    assert ["come back (recurrence 1)" in words for words in comments] == [True]
