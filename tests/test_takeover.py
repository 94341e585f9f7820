"""A person takes a conversation over and gives it back."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from database import writing
from models import Run, RunMode, RunState, Ticket, TicketStatus
from tickets.runs import claims, ingest, reports, takeover
from tickets.runs.ingest import WorkerEvent

from .test_spine import ALICE, make


def claimed(engine: Engine, ticket_id: int) -> Run:
    """A run whose program has named its conversation."""
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        claims.record_workspace(session, run.id, workspace="/work", config_dir="/runs/1/config")
        payload = {"conversation_id": "c-1"}
        event = {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.session", "payload": payload}
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(event)])
    return run


def ended(engine: Engine, run: Run) -> None:
    """The wrapper has done as it was told."""
    with writing(engine) as session:
        assert session.get_one(Run, run.id).state is RunState.STOPPING
        reports.apply_report(session, run.id, reports.RunReport(verdict="stopped"), reports.RetryPolicy())


@pytest.mark.both_databases
def test_a_conversation_is_taken_over_once_and_given_back(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude")
    ended_run = claimed(engine, ticket_id)

    with writing(engine) as session:
        ticket = takeover.take_over(session, ticket_id, ALICE)
        assert (ticket.status, ticket.attempts) == (TicketStatus.TODO, 0)
    ended(engine, ended_run)
    run_row = claimed(engine, ticket_id)
    assert (run_row.mode, run_row.resumes, run_row.conversation_id) == (RunMode.TUI, True, "c-1")
    with writing(engine) as session:
        assert session.get_one(Ticket, ticket_id).next_mode is None
        takeover.hand_back(session, ticket_id, ALICE)
    ended(engine, run_row)
    again = claimed(engine, ticket_id)

    assert (again.mode, again.resumes, again.conversation_id) == (RunMode.HEADLESS, True, "c-1")


def test_nothing_is_taken_over_without_a_run_that_has_a_screen_to_show(engine: Engine) -> None:
    scripted, idle = make(engine), make(engine, assigned_to="claude")
    claimed(engine, scripted)

    with writing(engine) as session:
        for ticket_id in (scripted, idle):
            with pytest.raises(takeover.NotTakenOver):
                takeover.take_over(session, ticket_id, ALICE)


def test_only_what_was_taken_over_is_given_back(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude")
    claimed(engine, ticket_id)

    with writing(engine) as session, pytest.raises(takeover.NotTakenOver):
        takeover.hand_back(session, ticket_id, ALICE)
