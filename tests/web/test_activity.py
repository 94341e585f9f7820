"""Activity: each kind of event has a sentence, and the feed is narrowed and paged without reading the whole log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, update

from database import reading, writing
from models import TicketEvent
from tickets.lifecycle import moves, transitions
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.events import EventFilter, LogEntry
from tickets.shared.inputs import NewTicket
from web.site import event_sentences

from .conftest import Api

ALICE, BOB = Actor.human("alice"), Actor.human("bob")
ROOT = Path(__file__).parent.parent.parent


def logged(event_type: str, **payload: Any) -> LogEntry:
    return LogEntry(1, 7, "MC-7", "Greet <b>", 1, event_type, "alice", None, "2026-01-01T00:00:00.000000Z", payload)


def build_sentence(event: LogEntry) -> str:
    sentence = event_sentences.build_sentence(event)
    return " ".join(part for part in (sentence.actor, sentence.before, sentence.ticket, sentence.after) if part)


def test_every_sentence_of_a_move_belongs_to_one() -> None:
    assert set(event_sentences.MOVES) <= {*moves.MOVES, "undo"}


def test_a_move_without_a_sentence_of_its_own_is_told_with_its_states() -> None:
    payload = {"move": "hand_over", "from": "in_progress", "to": "todo"}
    assert build_sentence(logged("ticket_moved", **payload)) == "alice moved MC-7 : hand over: in progress → todo"


def test_every_kind_of_event_that_is_written_has_a_sentence_and_a_group() -> None:
    begins = "|".join(begin for _, prefixes in event_sentences.GROUPS.values() for begin in prefixes)
    pattern = re.compile(rf'(?:append|_tell|_log|_settle|_apply)\([^)]*?"((?:{begins})[a-z_]+)"', re.DOTALL)
    files = [file for package in ("tickets", "jobs") for file in (ROOT / package).rglob("*.py")]
    event_types = {name for file in files for name in pattern.findall(file.read_text("utf-8"))} - {"ticket_moved"}
    assert len(event_types) > 20
    assert event_types - set(event_sentences.SENTENCES) == set()


def test_a_move_is_told_with_its_reason_in_one_line() -> None:
    assert (
        build_sentence(logged("ticket_moved", move="block", next_action="Log in\n again"))
        == "alice blocked MC-7 : Log in again"
    )
    assert build_sentence(logged("ticket_moved", move="park")) == "alice parked MC-7"


def test_an_event_without_a_sentence_of_its_own_is_told_by_its_type() -> None:
    assert build_sentence(logged("moon_landed", text="Softly")) == "alice moon landed MC-7 : Softly"


def test_an_event_from_outside_that_looks_like_a_move_is_told_all_the_same() -> None:
    assert build_sentence(logged("moon_landed", move="down")) == "alice moon landed MC-7 : move down"


def test_words_of_an_event_are_never_taken_for_a_pattern() -> None:
    assert (
        build_sentence(logged("comment_added", body="{ticket} {0} {body!r}"))
        == "alice commented on MC-7 : {ticket} {0} {body!r}"
    )


@pytest.fixture
def log(engine: Engine) -> Engine:
    """Two tickets, an agent that talks much, and a comment long ago."""
    with writing(engine) as session:
        for title in ("First", "Second"):
            transitions.create_ticket(session, NewTicket(title=title), ALICE)
        events.append(session, 1, "comment_added", {"body": "Long ago"}, BOB)
        for number in range(30):
            events.append(session, 2, "ticket_edited", {"changes": {"title": [number, number]}}, ALICE)
        for number in range(30):
            position = events.append(session, 2, "agent.text", {"text": "Hm."}, ALICE)
            session.execute(update(TicketEvent).where(TicketEvent.id == position.id).values(run_seq=number))
    return engine


def types(engine: Engine, filters: EventFilter, **place: int) -> list[str]:
    with reading(engine) as session:
        return [event.event_type for event in events.load_feed(session, filters, **place).events]


def test_the_feed_leaves_out_what_workers_report_unless_it_is_asked_for(log: Engine) -> None:
    assert set(types(log, EventFilter())) == {"ticket_created", "comment_added", "ticket_edited"}
    assert set(types(log, EventFilter(reported=True, kinds=("agent.",)))) == {"agent.text"}


@pytest.mark.both_databases
def test_the_feed_is_narrowed_to_an_actor_a_ticket_and_a_kind(log: Engine) -> None:
    assert types(log, EventFilter(actor="bob")) == ["comment_added"]
    assert types(log, EventFilter(ticket_id=1)) == ["comment_added", "ticket_created"]
    assert types(log, EventFilter(kinds=("comment_", "ticket_created"))) == [
        "comment_added",
        "ticket_created",
        "ticket_created",
    ]


@pytest.mark.both_databases
def test_pages_of_the_feed_follow_on_without_gap_or_repetition(log: Engine) -> None:
    event_ids: list[int] = []
    before = None
    with reading(log) as session:
        while True:
            page = events.load_feed(session, EventFilter(), before, limit=10)
            event_ids += [event.id for event in page.events]
            before = page.older
            if before is None:
                break
    assert len(event_ids) == 33
    assert event_ids == sorted(set(event_ids), reverse=True)


@pytest.mark.both_databases
def test_a_page_looks_through_a_bounded_part_of_the_log_and_says_where_to_go_on(
    log: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_SCANNED", 20)
    with reading(log) as session:
        first = events.load_feed(session, EventFilter(kinds=("comment_",)))
        assert first.events == [] and first.older
        second = events.load_feed(session, EventFilter(kinds=("comment_",)), first.older)
    assert [event.event_type for event in second.events] == ["comment_added"]


def test_the_page_tells_who_did_what_and_links_the_ticket(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "Greet <b>"})
    page = browser.get("/activity?kind=tickets&actor=the-operator").get_data(as_text=True)
    assert 'href="/ticket/MC-1"' in page and "Greet &lt;b&gt;" in page
    assert "No activity found" in browser.get("/activity?kind=incidents").get_data(as_text=True)
    assert "There is no such ticket" in browser.get("/activity?ticket=MC-99").get_data(as_text=True)
