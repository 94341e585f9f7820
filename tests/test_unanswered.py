"""A question that waits too long in its live process becomes one on the ticket."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from database import writing
from models import Run, RunRequest, TicketStatus, now
from protocol import StopCode
from tickets.board import status_reason
from tickets.dispatch.policy import DispatchLimits
from tickets.runs import heartbeat, ingest, reports
from tickets.runs.ingest import WorkerEvent
from tickets.shared import lookup

from .test_sessions import claimed
from .test_spine import make

ASKED = {"request": "r-1", "questions": [{"text": "Red or blue?", "choices": []}]}


@pytest.mark.both_databases
def test_a_question_unanswered_past_its_limit_ends_the_run_and_is_asked_on_the_ticket(engine: Engine) -> None:
    run = claimed(engine, make(engine, assigned_to="claude"))
    event = {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.question", "payload": ASKED}
    with writing(engine) as session:
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(event)])
        assert reports.stop_unanswered(session, 3600) == 0
        session.execute(update(RunRequest).values(created=now() - timedelta(seconds=3601)))
        assert reports.stop_unanswered(session, 3600) == 1
        assert reports.stop_unanswered(session, 3600) == 0, "it is told once"
        assert (
            heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="waiting"))["stop"]["code"]
            == "timeout"
        )

    with writing(engine) as session:
        late = reports.apply_report(
            session, run.id, reports.RunReport(verdict="done", summary="Done."), reports.RetryPolicy()
        )
        assert not late.accepted

    again = claimed(engine, make(engine, assigned_to="codex"))
    with writing(engine) as session:
        session.execute(update(Run).where(Run.id == again.id).values(stop_code=StopCode.UNANSWERED.value))
        question = reports.RunReport(verdict="question", summary="Red or blue?", question=ASKED)
        receipt = reports.apply_report(session, again.id, question, reports.RetryPolicy())

    assert receipt.accepted and receipt.ticket.status is TicketStatus.NEEDS_INPUT


@pytest.mark.both_databases
def test_a_run_that_waits_without_anything_to_answer_is_told_of_and_stopped_in_time(engine: Engine) -> None:
    """Regression: a run whose approval was withdrawn while its dialog stood on the screen waited for ever."""
    ticket_id = make(engine, assigned_to="claude")
    run = claimed(engine, ticket_id)
    events = [
        {"event_type": "agent.question", "payload": ASKED},
        {"event_type": "agent.withdrawn", "payload": {"request": "r-1"}},
    ]

    def describe(seconds: float) -> str:
        with writing(engine) as session:
            session.execute(update(Run).values(waiting_since=now() - timedelta(seconds=seconds)))
            row = lookup.get_run(session, run.id)
            reason = status_reason.load_reasons(
                session, [lookup.get_ticket(session, ticket_id)], {ticket_id: row}, DispatchLimits()
            )
            return reason[ticket_id].text

    with writing(engine) as session:
        heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="waiting"))
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(events[0])])
    assert describe(4000) == "Red or blue?"
    with writing(engine) as session:
        assert reports.stop_unanswered(session, 3600) == 0, "it can be answered"
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(events[1])])
        assert reports.stop_unanswered(session, 3600) == 0, "it may still go on, or ask again"
    assert describe(30) == "The agent is waiting for an answer"
    assert describe(61) == status_reason.UNANSWERABLE_TEXT
    with writing(engine) as session:
        assert reports.stop_unanswered(session, 3600) == 0
        session.execute(update(Run).values(waiting_since=now() - timedelta(seconds=3601), mode="tui"))
        assert reports.stop_unanswered(session, 3600) == 0, "a person has taken it over"
        session.execute(update(Run).values(mode="headless"))
        assert reports.stop_unanswered(session, 3600) == 1
        reports.apply_report(session, run.id, reports.RunReport(verdict="stopped"), reports.RetryPolicy())
        assert lookup.get_ticket(session, ticket_id).status is TicketStatus.TODO


@pytest.mark.parametrize("verdict", ["stopped", "lost", "failed", "done"])
def test_a_run_stopped_for_its_question_never_leaves_its_ticket_in_progress(engine: Engine, verdict: Any) -> None:
    """Regression: where the question had just been answered or the wrapper died, nothing ran and nobody was asked."""
    ticket_id = make(engine, assigned_to="claude")
    run = claimed(engine, ticket_id)
    with writing(engine) as session:
        session.execute(update(Run).where(Run.id == run.id).values(stop_code=StopCode.UNANSWERED.value))
        reports.apply_report(session, run.id, reports.RunReport(verdict=verdict), reports.RetryPolicy())
        ticket = lookup.get_ticket(session, ticket_id)
    assert (ticket.status, ticket.not_before is not None) == (TicketStatus.TODO, True)
