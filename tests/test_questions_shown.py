"""A question in the conversation is news again when it is answered, withdrawn, or its run has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from database import reading, writing
from models import Ticket
from tickets.board import ticket_detail
from tickets.conversation import requests, timeline
from tickets.lifecycle import transitions
from tickets.runs import claims, ingest, reports
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_ticket

ALICE = Actor.human("alice")


def ask(engine: Engine) -> tuple[int, int, int]:
    """A ticket whose live run has asked "q1"; returns ticket, run and the sequence up to which a page has read."""
    body = NewTicket.model_validate({"title": "Write a line", "assigned_to": "script"})
    with writing(engine) as session:
        ticket_id = transitions.create_ticket(session, body, ALICE).id
    with writing(engine) as session:
        run_id = claims.claim_ticket(session, ticket_id, "here").run.id
    tell(engine, run_id, 1, "agent.question", {"request": "q1", "questions": [{"text": "Which?"}]})
    with reading(engine) as session:
        return ticket_id, run_id, get_ticket(session, ticket_id).event_seq


def tell(engine: Engine, run_id: int, number: int, kind: str, payload: dict[str, object]) -> None:
    event = {"run_seq": number, "ts": "2026-01-01T00:00:00Z", "event_type": kind, "payload": payload}
    with writing(engine) as session:
        ingest.ingest_events(session, run_id, [ingest.WorkerEvent.model_validate(event)])


def answer_question(session: Session, ticket_id: int, run_id: int) -> None:
    requests.answer_request(session, ticket_id, requests.Reply(request="q1", answers={"Which?": "This"}), ALICE)


def withdrawn(session: Session, ticket_id: int, run_id: int) -> None:
    event = {"run_seq": 2, "ts": "2026-01-01T00:00:01Z", "event_type": "agent.withdrawn", "payload": {"request": "q1"}}
    ingest.ingest_events(session, run_id, [ingest.WorkerEvent.model_validate(event)])


def ended(session: Session, ticket_id: int, run_id: int) -> None:
    reports.apply_report(session, run_id, reports.RunReport(verdict="done", summary="Done."), reports.RetryPolicy())


@pytest.mark.parametrize("settle", [answer_question, withdrawn, ended])
def test_a_settled_question_is_read_again(engine: Engine, settle: Callable[[Session, int, int], None]) -> None:
    ticket_id, run_id, last_seq = ask(engine)
    with reading(engine) as session:
        assert timeline.list_changes(session, ticket_id, last_seq) == []
    with writing(engine) as session:
        settle(session, ticket_id, run_id)
    with reading(engine) as session:
        entries = timeline.list_changes(session, ticket_id, last_seq)
    assert "q1" in [getattr(entry, "block", None) for entry in entries]


def test_an_answered_question_tells_the_choices_and_the_answer_to_each(engine: Engine) -> None:
    body = NewTicket.model_validate({"title": "Paint it", "assigned_to": "script"})
    with writing(engine) as session:
        ticket_id = transitions.create_ticket(session, body, ALICE).id
        run_id = claims.claim_ticket(session, ticket_id, "here").run.id
    questions = [{"text": text, "choices": [{"label": "Warm"}, {"label": "Cool"}]} for text in ("Wall?", "Door?")]
    report = reports.RunReport(verdict="question", summary="Which?", question={"questions": questions})
    with writing(engine) as session:
        reports.apply_report(session, run_id, report, reports.RetryPolicy())
        ticket = get_ticket(session, ticket_id)
        assert [view["question"]["open"] for view in show(session, ticket)] == [True]
        transitions.transition(session, ticket_id, "answer", ALICE, body="2. Cool, but light")
    with reading(engine) as session:
        ticket = get_ticket(session, ticket_id)
        assert ticket_detail.list_attention(session, ticket) == []
        [view] = show(session, ticket)
    assert (view["question"]["open"], view["question"]["answers"]) == (False, ["", "Cool, but light"])
    assert view["question"]["answered_by"] == "alice"


def show(session: Session, ticket: Ticket) -> list[dict[str, Any]]:
    """Build the views of a ticket's questions."""
    views = ticket_detail.build_conversation(session, ticket, timeline.list_entries(session, ticket.id))
    return [view for view in views if view["kind"] == "question"]


@pytest.mark.parametrize("text", ["REVIEW: It is painted.", "It is painted."])
def test_a_report_that_repeats_the_last_text_of_the_agent_is_shown_once(engine: Engine, text: str) -> None:
    ticket_id, run_id, _ = ask(engine)
    tell(engine, run_id, 2, "agent.text", {"text": "It is not dry yet."})
    tell(engine, run_id, 3, "agent.text", {"text": text})
    with writing(engine) as session:
        report = reports.RunReport(verdict="review", summary="It is painted.")
        reports.apply_report(session, run_id, report, reports.RetryPolicy())
        entries = timeline.list_entries(session, ticket_id)
        views = ticket_detail.build_conversation(session, get_ticket(session, ticket_id), entries)
    texts = [(view["kind"], view["markdown"]) for view in views if view["kind"] in ("text", "verdict")]
    assert texts == [("text", "It is not dry yet."), ("verdict", "It is painted.")]
