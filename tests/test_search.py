"""One search finds tickets, comments, what agents said, and evidence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from database import reading, writing
from tickets.board import search
from tickets.conversation import timeline
from tickets.lifecycle import transitions
from tickets.runs import claims, ingest, reports
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket

pytestmark = pytest.mark.both_databases

ALICE = Actor.human("alice")


@pytest.fixture
def board(engine: Engine) -> Engine:
    """The same rare word in each place that is searched."""
    with writing(engine) as session:
        body = NewTicket(title="Zebra crossing", description="```sh\ncount zebras\n```", assigned_to="script")
        ticket = transitions.create_ticket(session, body, ALICE)
        timeline.add_comment(session, ticket.id, timeline.NewComment(body="Which zebra?"), ALICE)
        run = claims.claim_ticket(session, ticket.id, "here").run
        event = {
            "run_seq": 1,
            "ts": datetime.now(UTC),
            "event_type": "agent.text",
            "payload": {"block": "b", "text": "I see a zebra."},
        }
        ingest.ingest_events(session, run.id, [ingest.WorkerEvent.model_validate(event)])
        report = {"verdict": "review", "summary": "Done.", "claims": [{"text": "One zebra counted"}]}
        reports.apply_report(session, run.id, reports.RunReport.model_validate(report), reports.RetryPolicy())
    return engine


def test_a_word_is_found_in_every_place(board: Engine) -> None:
    with reading(board) as session:
        hits = {hit.kind: hit for hit in search.search_all(session, "zebra")}
    assert list(hits) == ["ticket", "comment", "message", "evidence"]
    assert hits["message"].by == "script"
    assert "#entry-m" in hits["message"].href
    assert hits["evidence"].href == "/ticket/MC-1?tab=evidence"


@pytest.mark.parametrize("kind", search.KINDS)
def test_a_search_is_narrowed_to_one_kind(board: Engine, kind: str) -> None:
    with reading(board) as session:
        assert {hit.kind for hit in search.search_all(session, "zebra", kind)} == {kind}


def test_a_snippet_is_without_the_fences_of_code(board: Engine) -> None:
    with reading(board) as session:
        hit = search.search_all(session, "zebras", "ticket")[0]
    assert hit.snippet == "count zebras"
