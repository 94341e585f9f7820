"""An agent that asks in the middle of its work needs a person: said by head, card and overview alike."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from database import reading, writing
from tickets.board import columns, overview, ticket_header
from tickets.board.columns import Filters, Viewer
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import transitions
from tickets.runs import claims, heartbeat
from tickets.shared import lookup
from tickets.shared.inputs import NewTicket

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
