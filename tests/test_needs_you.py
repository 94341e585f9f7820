"""An agent that asks in the middle of its work needs a person: said by head, card and overview alike."""

from __future__ import annotations

from sqlalchemy import Engine

from models import reading, writing
from tests.test_spine import ALICE, make
from tickets import board, header, lookup, overview, runs
from tickets.board import Filters, Viewer
from tickets.policy import Limits


def test_a_run_that_waits_for_an_answer_is_shown_as_needing_a_person(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = runs.claim(session, ticket_id, "here").run
        runs.beat(session, run.id, runs.Beat(state="running"))
    for state, next_action, wanted in (("running", "Work goes on", False), ("waiting", "Answer", True)):
        with writing(engine) as session:
            runs.beat(session, run.id, runs.Beat.model_validate({"state": state}))
        with reading(engine) as session:
            ticket = lookup.get(session, ticket_id)
            card = board.column(session, "in_progress", Filters(), Viewer(ALICE, Limits())).cards[0]
            assert header.of(session, ticket).next_action == next_action
            assert card.needs_you is wanted
            assert [item["identifier"] for item in overview.needs_you(session)] == [ticket.identifier] * wanted
