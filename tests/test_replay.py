"""A ticket as it was after any of its events, in queries that do not grow with its history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from database import reading, writing
from models import Ticket, TicketEvent, now
from tickets.board import replay
from tickets.board.replay import PastState
from tickets.conversation import messages, requests, timeline
from tickets.lifecycle import editing, transitions
from tickets.runs import claims, heartbeat, ingest, reports
from tickets.shared import events, lookup
from tickets.shared.inputs import EditTicket

from .test_spine import ALICE, make
from .test_workflow import DEV, REVIEW, phased, work


def ingest_events(engine: Engine, run: int, *lines: tuple[str, dict[str, Any]]) -> None:
    """Events of a run, as its wrapper would send them."""
    with writing(engine) as session:
        first = lookup.get_run(session, run).last_run_seq + 1
        batch = [
            {"run_seq": first + at, "ts": datetime.now(UTC), "event_type": f"agent.{kind}", "payload": payload}
            for at, (kind, payload) in enumerate(lines)
        ]
        ingest.ingest_events(session, run, [ingest.WorkerEvent.model_validate(line) for line in batch])


def claim(engine: Engine, ticket_id: int) -> int:
    with writing(engine) as session:
        return claims.claim_ticket(session, ticket_id, "here").run.id


def last(engine: Engine, ticket_id: int) -> int:
    with reading(engine) as session:
        return lookup.get_ticket(session, ticket_id).event_seq


def then(engine: Engine, ticket_id: int, seq: int) -> PastState:
    with reading(engine) as session:
        return replay.load_state(session, lookup.get_ticket(session, ticket_id), seq)


def stood(engine: Engine, ticket_id: int, seq: int) -> tuple[Any, ...]:
    was = then(engine, ticket_id, seq)
    return was.status, was.phase, was.owner, was.runtime


def list_entries(engine: Engine, ticket_id: int, seq: int) -> list[dict[str, Any]]:
    with reading(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        return replay.build_conversation(session, ticket, replay.load_state(session, ticket, seq))


@pytest.mark.both_databases
def test_state_owner_phase_and_runtime_are_those_of_the_moment(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    created = last(engine, ticket_id)
    run = claim(engine, ticket_id)
    claimed = last(engine, ticket_id)
    with writing(engine) as session:
        heartbeat.record_heartbeat(session, run, heartbeat.RunHeartbeat(state="running"))
    running = last(engine, ticket_id)
    with writing(engine) as session:
        reports.apply_report(session, run, reports.RunReport(verdict="done"), reports.RetryPolicy())
    moment = last(engine, ticket_id)
    work(engine, ticket_id, "done")
    assert stood(engine, ticket_id, created) == ("todo", "Dev", "script", "closed")
    assert stood(engine, ticket_id, claimed) == ("in_progress", "Dev", "script", "starting")
    assert stood(engine, ticket_id, running) == ("in_progress", "Dev", "script", "running")
    assert stood(engine, ticket_id, moment) == ("todo", "Review", "claude", "closed")
    assert stood(engine, ticket_id, 10_000) == ("done", "Review", "claude", "closed")


def test_an_edit_of_the_owner_counts_from_its_event_on(engine: Engine) -> None:
    ticket_id = make(engine)
    for at, owner in enumerate(("claude", "codex"), 1):
        with writing(engine) as session:
            body = EditTicket.model_validate({"version": at, "assigned_to": owner})
            editing.edit_ticket(session, lookup.get_ticket(session, ticket_id), body, ALICE)
    with writing(engine) as session:
        body = EditTicket.model_validate({"version": 3, "priority": "high"})
        editing.edit_ticket(session, lookup.get_ticket(session, ticket_id), body, ALICE)
    assert [then(engine, ticket_id, seq).owner for seq in (1, 2, 3, 4)] == ["script", "claude", "codex", "codex"]


def test_a_move_that_was_taken_back_leaves_the_ticket_as_it_was(engine: Engine) -> None:
    from tickets.lifecycle import undo

    ticket_id = make(engine, assigned_to=None)
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "start", ALICE)
    with writing(engine) as session:
        undo.undo_move(session, str(ticket_id), ALICE)
    assert [stood(engine, ticket_id, seq)[::2] for seq in (1, 2, 3)] == [
        ("todo", None),
        ("in_progress", "alice"),
        ("todo", None),
    ]


@pytest.mark.both_databases
def test_the_conversation_ends_where_it_stood_and_knows_nothing_of_what_came_later(engine: Engine) -> None:
    ticket_id = make(engine)
    run = claim(engine, ticket_id)
    ingest_events(engine, run, ("text", {"text": "I look.", "block": "b1"}))
    ingest_events(
        engine, run, ("tool_call", {"call": "k1", "name": "Bash", "title": "make", "input": {"command": "make"}})
    )
    called = last(engine, ticket_id)
    ingest_events(engine, run, ("tool_result", {"call": "k1", "output": "made", "exit_code": 0, "seconds": 1.0}))
    ingest_events(engine, run, ("question", {"request": "q1", "questions": [{"text": "Which?", "choices": []}]}))
    moment = last(engine, ticket_id)
    with writing(engine) as session:
        requests.answer_request(session, ticket_id, requests.Reply(request="q1", answers={"Which?": "This."}), ALICE)
    assert [view["kind"] for view in list_entries(engine, ticket_id, called)] == ["notice", "text", "tool"]
    assert list_entries(engine, ticket_id, called)[-1]["tool"]["output"] is None
    before, after = list_entries(engine, ticket_id, moment), list_entries(engine, ticket_id, 10_000)
    assert before[-2]["tool"]["output"] == "made"
    assert (before[-1]["question"]["open"], before[-1]["question"].get("unanswered")) == (False, True)
    assert (after[-1]["question"]["open"], after[-1]["question"].get("unanswered")) == (False, None)


def test_a_message_is_queued_until_the_event_that_says_otherwise(engine: Engine) -> None:
    ticket_id = make(engine)
    run = claim(engine, ticket_id)
    with writing(engine) as session:
        key = messages.queue_message(
            session, lookup.get_ticket(session, ticket_id), messages.NewMessage(body="Stop."), ALICE
        ).uuid
    queued = last(engine, ticket_id)
    with writing(engine) as session:
        messages.offer_messages(session, lookup.get_run(session, run))
    ingest_events(engine, run, ("receipt", {"uuid": key, "state": "accepted"}))
    states = [list_entries(engine, ticket_id, seq)[-1]["state"] for seq in (queued, 10_000)]
    assert states == ["queued", "accepted"]


def test_a_question_that_the_ticket_stopped_for_is_unanswered_while_it_waits(engine: Engine) -> None:
    ticket_id = make(engine)
    work(engine, ticket_id, "question", "Which?")
    moment = last(engine, ticket_id)
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "answer", ALICE, body="This.")
    assert list_entries(engine, ticket_id, moment)[-1]["question"].get("unanswered")
    assert not list_entries(engine, ticket_id, 10_000)[-2]["question"].get("unanswered")


def test_the_steps_lead_through_what_is_to_be_seen_and_over_what_is_not(engine: Engine) -> None:
    ticket_id = make(engine)
    run = claim(engine, ticket_id)
    for part in range(5):
        ingest_events(engine, run, ("usage", {"input_tokens": part}))
    ingest_events(engine, run, ("text", {"text": "Here.", "block": "b1"}))
    spoke = last(engine, ticket_id)
    was = then(engine, ticket_id, spoke - 2)
    assert (was.before, was.after) == (3, spoke)
    ends = then(engine, ticket_id, 1).before, then(engine, ticket_id, spoke).after
    assert ends == (None, None)


@pytest.mark.both_databases
def test_the_ruler_has_marks_for_moves_runs_and_verdicts_and_never_too_many(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    work(engine, ticket_id, "done")
    with reading(engine) as session:
        marks = replay.list_marks(session, ticket_id)
        assert [(mark.kind, mark.state) for mark in marks] == [
            ("move", "todo"),
            ("move", "in_progress"),
            ("run", "in_progress"),
            ("verdict", "todo"),
            ("run", "in_progress"),
        ]
        monkeypatch.setattr(replay, "MAX_MARKS", 2)
        assert [mark.seq for mark in replay.list_marks(session, ticket_id)] == [mark.seq for mark in marks[-2:]]


@pytest.mark.both_databases
def test_what_is_no_longer_kept_is_said_and_the_rest_still_stands(engine: Engine) -> None:
    ticket_id = make(engine)
    run = claim(engine, ticket_id)
    ingest_events(engine, run, *[("text", {"text": f"Line {n}", "block": f"b{n}"}) for n in range(5)])
    with writing(engine) as session:
        old = update(TicketEvent).where(TicketEvent.run_seq.is_not(None)).values(ts=now() - timedelta(days=40))
        session.execute(old)
        events.prune(session, 30)
    was = then(engine, ticket_id, 6)
    assert was.pruned and was.event is not None and was.event.event_type == "run_opened"
    assert stood(engine, ticket_id, 6) == ("in_progress", None, "script", "starting")
    with reading(engine) as session:
        stored_seqs = [row.seq for row in events.list_latest(session, ticket_id)]
        assert stored_seqs == [3, 2, 1] and [row.seq for row in events.list_latest(session, ticket_id, before=3)] == [
            2,
            1,
        ]


@pytest.mark.both_databases
def test_no_query_reads_more_of_a_long_log_than_of_a_short_one(engine: Engine) -> None:
    """Each looks into an index: the plan of none of them scans the events of the ticket."""
    ticket_id = make(engine)
    run = claim(engine, ticket_id)
    ingest_events(engine, run, *[("usage", {"input_tokens": n}) for n in range(400)])
    with writing(engine) as session:
        timeline.add_comment(session, ticket_id, timeline.NewComment(body="So."), ALICE)
        session.connection().exec_driver_sql("ANALYZE")
    statements: list[tuple[str, Any]] = []
    with reading(engine) as session:
        listen = (session.connection().engine, "before_cursor_execute")

        def note(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
            statements.append((statement, parameters))

        event.listen(*listen, note)
        ticket = session.get_one(Ticket, ticket_id)
        replay.load_state(session, ticket, 200)
        replay.list_marks(session, ticket_id)
        event.remove(*listen, note)
        if engine.dialect.name == "sqlite":
            plans = [
                row[3]
                for statement, parameters in statements
                for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
            assert [plan for plan in plans if "SCAN ticket_" in plan or "TEMP B-TREE" in plan] == []
            assert [plan for plan in plans if "ticket_events" in plan and plan.endswith("(ticket_id=?)")] == []
    assert len(statements) < 20
