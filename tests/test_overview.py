"""The overview's figures come from what was really done, on each database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from database import reading, writing
from models import PersonVisit, Run, Ticket, TicketStatus, now
from tickets.board import absence, overview
from tickets.lifecycle import transitions
from tickets.runs import claims, reports
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket

pytestmark = pytest.mark.both_databases

ALICE = Actor.human("alice")


def finished(engine: Engine, minutes: int, days_ago: int = 0) -> None:
    """A ticket whose first run began so long before it was closed."""
    end = now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    with writing(engine) as session:
        ticket = transitions.create_ticket(session, NewTicket(title="Greet", assigned_to="script"), ALICE)
        run = claims.claim_ticket(session, ticket.id, "here").run
        session.execute(update(Run).where(Run.id == run.id).values(started=end - timedelta(minutes=minutes)))
        transitions.transition(session, ticket.id, "close", ALICE, note="It is done.")
        session.execute(update(Ticket).where(Ticket.id == ticket.id).values(closed=end))


def test_cycle_time_is_the_median_from_the_first_run_to_the_end(engine: Engine) -> None:
    for minutes in (2, 10, 600):
        finished(engine, minutes)
    finished(engine, 90, days_ago=3)
    finished(engine, 7, days_ago=overview.DAYS + 1)
    with reading(engine) as session:
        plot = overview.plot_cycle_time(session)
    assert plot["points"][-1]["text"] == "10 min"
    assert plot["points"][-4]["text"] == "1.5 h"
    assert plot["points"][0]["text"] == "none"
    assert plot["value"] == "50 min"


def test_what_needs_you_says_what_its_agent_asked(engine: Engine) -> None:
    with writing(engine) as session:
        ticket = transitions.create_ticket(session, NewTicket(title="Greet", assigned_to="script"), ALICE)
        claim = claims.claim_ticket(session, ticket.id, "here")
        report = reports.RunReport.model_validate({"verdict": "question", "summary": "In which language?\nOr both?"})
        reports.apply_report(session, claim.run.id, report, reports.RetryPolicy())
    with reading(engine) as session:
        assert session.get_one(Ticket, ticket.id).status is TicketStatus.NEEDS_INPUT
        assert [item["line"] for item in overview.list_needs(session)] == ["In which language?"]


def end_run(engine: Engine, title: str, verdict: str, cost: float) -> str:
    """A ticket whose run has ended with this verdict and cost."""
    with writing(engine) as session:
        ticket = transitions.create_ticket(session, NewTicket(title=title, assigned_to="script"), ALICE)
        claim = claims.claim_ticket(session, ticket.id, "here")
        report = reports.RunReport.model_validate({"verdict": verdict, "summary": "Well?"})
        reports.apply_report(session, claim.run.id, report, reports.RetryPolicy())
        session.execute(update(Run).where(Run.id == claim.run.id).values(cost_usd=cost))
        return ticket.identifier


def test_what_happened_while_a_person_was_away_is_listed_until_it_is_dismissed(engine: Engine) -> None:
    start = now()
    end_run(engine, "Before", "failed", 1.0)
    with writing(engine) as session:
        session.execute(update(Run).values(ended=start - timedelta(hours=3)))
        absence.record_visit(session, "alice", start - timedelta(hours=2))
        absence.record_visit(session, "alice", start - timedelta(hours=1, minutes=40))
        assert absence.load_absence(session, "alice", start - timedelta(hours=1, minutes=35)) is None
        assert absence.load_absence(session, "bob", start) is None
    for number in range(4):
        finished(engine, number + 1)
    asked, failed = end_run(engine, "Ask", "question", 0.5), end_run(engine, "Fail", "failed", 0.25)
    with writing(engine) as session:
        session.execute(update(Ticket).where(Ticket.status == TicketStatus.DONE).values(closed=start))
        arrived = absence.load_absence(session, "alice", start)
        absence.record_visit(session, "alice", start)
        absence.record_visit(session, "alice", start + timedelta(minutes=5))
        found = absence.load_absence(session, "alice", start + timedelta(minutes=5))
        assert found == arrived and found is not None
        assert found.since == start - timedelta(hours=1, minutes=40)
        assert (found.finished.count, len(found.finished.tickets)) == (4, absence.PAGE_SIZE)
        assert (found.questions.tickets, found.failed.tickets) == ([(asked, "Ask")], [(failed, "Fail")])
        assert found.cost == pytest.approx(0.75)
        absence.dismiss_absence(session, "alice", start + timedelta(minutes=6))
        assert absence.load_absence(session, "alice", start + timedelta(minutes=6)) is None
        session.execute(update(PersonVisit).values(last_seen=start + timedelta(days=1)))
        assert absence.load_absence(session, "alice", start + timedelta(days=2)) is None, "nothing happened"
