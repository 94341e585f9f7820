"""Which conversation the next run of a ticket goes on with."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, update

from database import writing
from models import Agent, Run, Ticket
from tickets.lifecycle import transitions
from tickets.runs import claims, ingest, reports
from tickets.runs.ingest import WorkerEvent

from .test_spine import ALICE, make


def begin(engine: Engine, ticket_id: int, conversation: str | None, **places: Any) -> Run:
    """A run whose program tells of its conversation, and then asks a question."""
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        claims.record_workspace(session, run.id, workspace="/work", **places)
        payload = {"conversation_id": conversation} if conversation else {"program": "script"}
        event = {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.session", "payload": payload}
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(event)])
        question = reports.RunReport(verdict="question", summary="Which?", question={"request": "1"})
        reports.apply_report(session, run.id, question, reports.RetryPolicy())
        transitions.transition(session, ticket_id, "answer", ALICE, body="This one.")
    return run


def claimed(engine: Engine, ticket_id: int) -> Run:
    with writing(engine) as session:
        return claims.claim_ticket(session, ticket_id, "here").run


@pytest.mark.both_databases
def test_an_answered_ticket_resumes_the_conversation_that_its_program_named(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude")
    begin(engine, ticket_id, "c-1", config_dir="/runs/1/config")

    run = claimed(engine, ticket_id)

    assert (run.resumes, run.conversation_id, run.config_dir) == (True, "c-1", "/runs/1/config")
    with writing(engine) as session:
        assert session.get_one(Ticket, ticket_id).conversation_id == "c-1"


def test_a_program_that_names_no_conversation_always_starts_anew(engine: Engine) -> None:
    ticket_id = make(engine)
    begin(engine, ticket_id, None)

    run = claimed(engine, ticket_id)

    assert (run.resumes, run.conversation_id) == (False, None)


@pytest.mark.parametrize("name", ["--dangerously-skip-permissions", "../../c-1", "a/b", "", "x" * 101, "a\nb"])
def test_a_name_that_is_an_option_or_a_path_is_not_taken_up(engine: Engine, name: str) -> None:
    ticket_id = make(engine, assigned_to="claude")
    begin(engine, ticket_id, name, config_dir="/runs/1/config")

    assert not claimed(engine, ticket_id).resumes


def test_another_agent_does_not_get_the_conversation(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude")
    begin(engine, ticket_id, "c-1")
    with writing(engine) as session:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(assigned_to="codex"))
        session.execute(update(Agent).values(capacity=9))

    assert not claimed(engine, ticket_id).resumes
