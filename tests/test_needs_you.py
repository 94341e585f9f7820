"""An agent that asks in the middle of its work needs a person: said by head, card and overview alike."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from database import reading, writing
from models import now
from tickets.board import columns, overview, review_queue, ticket_header
from tickets.board.columns import Filters, Viewer
from tickets.board.review_queue import ReviewPlace
from tickets.conversation import requests
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import transitions
from tickets.runs import claims, heartbeat, ingest
from tickets.shared import lookup
from tickets.shared.inputs import NewTicket
from tickets.workflow import relationships

from .test_spine import ALICE, make

pytestmark = pytest.mark.both_databases


def test_a_run_that_waits_for_an_answer_is_shown_as_needing_a_person(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="running"))
    for state, next_action, expected in (
        ("running", "In progress, nothing for you", False),
        ("waiting", "Waiting for your answer", True),
    ):
        with writing(engine) as session:
            heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat.model_validate({"state": state}))
        with reading(engine) as session:
            ticket = lookup.get_ticket(session, ticket_id)
            card = columns.load_column(session, "in_progress", Filters(), Viewer(ALICE, DispatchLimits())).cards[0]
            assert ticket_header.describe_next_action(ticket, lookup.find_live_run(session, ticket_id)) == next_action
            assert card.needs_you is expected
            assert [item["identifier"] for item in overview.list_needs(session)] == [ticket.identifier] * expected
            assert overview.count_needs(session) == int(expected)


def test_what_needs_a_person_is_counted_whole_where_the_list_is_cut(engine: Engine) -> None:
    with writing(engine) as session:
        for number in range(overview.PAGE_SIZE + 3):
            ticket = transitions.create_ticket(
                session, NewTicket(title=f"Blocked {number}", assigned_to="script"), ALICE
            )
            transitions.transition(
                session, ticket.id, "block", ALICE, reason="needs_human", owner="alice", next_action="y"
            )
    with reading(engine) as session:
        assert len(overview.list_needs(session)) == overview.PAGE_SIZE
        assert (
            len(overview.list_needs(session, overview.MAX_NEEDS))
            == overview.count_needs(session)
            == overview.PAGE_SIZE + 3
        )


def block(engine: Engine, title: str) -> str:
    with writing(engine) as session:
        ticket = transitions.create_ticket(session, NewTicket(title=title, assigned_to="script"), ALICE)
        transitions.transition(
            session, ticket.id, "block", ALICE, reason="needs_human", owner="alice", next_action="Look"
        )
        return ticket.identifier


def test_the_queue_leads_from_one_decision_to_the_next(engine: Engine) -> None:
    first, second, third = (block(engine, title) for title in ("One", "Two", "Three"))
    with reading(engine) as session:
        assert review_queue.find_place(session) == ReviewPlace(first, 1, 3, None, second)
        assert review_queue.find_place(session, second) == ReviewPlace(second, 2, 3, first, third)
        assert review_queue.find_next(session, second, 2) == second
    with writing(engine) as session:
        transitions.transition(session, lookup.get_ticket(session, third).id, "unblock", ALICE)
    with reading(engine) as session:
        assert review_queue.find_place(session, third) is None
        assert review_queue.find_next(session, third, 3) == first
    with writing(engine) as session:
        transitions.transition(session, lookup.get_ticket(session, first).id, "unblock", ALICE)
    with reading(engine) as session:
        assert review_queue.find_next(session, first, 1) == second


def test_an_answered_run_is_passed_over_until_it_goes_on(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="waiting"))
        question = {"request": "r1", "questions": [{"text": "Which?", "choices": [{"label": "This"}]}]}
        event = {"run_seq": 1, "ts": now(), "event_type": "agent.question", "payload": question}
        ingest.ingest_events(session, run.id, [ingest.WorkerEvent.model_validate(event)])
        identifier = lookup.get_ticket(session, ticket_id).identifier
    other = block(engine, "Another")
    with reading(engine) as session:
        assert review_queue.find_next(session, identifier, 1) == identifier
    with writing(engine) as session:
        reply = requests.Reply.model_validate({"request": "r1", "behavior": "allow", "answers": {"Which?": "This"}})
        requests.answer_request(session, ticket_id, reply, ALICE)
    with reading(engine) as session:
        assert overview.list_queue(session) == [identifier, other]
        assert review_queue.find_next(session, identifier, 1) == other


def test_what_waits_for_a_ticket_is_listed_while_it_is_open(engine: Engine) -> None:
    blocker, other = block(engine, "First"), block(engine, "Second")
    with writing(engine) as session:
        blocker_id, other_id = (lookup.get_ticket(session, name).id for name in (blocker, other))
        relationships.relate(session, blocker_id, "blocks", other_id, ALICE)
        parked = transitions.create_ticket(
            session,
            NewTicket.model_validate(
                {"title": "Third", "status": "waiting", "wake": {"kind": "ticket", "ticket": blocker}}
            ),
            ALICE,
        )
    with reading(engine) as session:
        facts = review_queue.load_facts(session, lookup.get_ticket(session, blocker))
        assert facts.dependents == [(other, "Second"), (parked.identifier, "Third")]
    with writing(engine) as session:
        transitions.transition(session, other_id, "cancel", ALICE)
    with reading(engine) as session:
        assert relationships.list_dependents(session, blocker_id) == [(parked.identifier, "Third")]
