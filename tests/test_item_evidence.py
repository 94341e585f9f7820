"""Acceptance items and what proves them: an agent's references, a person's decision, and files that have changed since."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event

from database import reading, writing
from models import TicketStatus
from tickets.conversation import proof_request
from tickets.lifecycle import acceptance, editing
from tickets.lifecycle.acceptance import Item
from tickets.runs import claims, ingest, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden
from tickets.shared.inputs import EditTicket
from tickets.workflow import branch_states, evidence, item_evidence
from tickets.workflow.branch_states import TrialResult
from tickets.workflow.item_evidence import ItemEvidence, ItemState

from .test_landing import SEEN, SHA, move, project
from .test_spine import ALICE, make

TREE, LATER_TREE = "a" * 40, "b" * 40
CHECK: dict[str, Any] = {"argv": ["make", "test"], "exit_code": 0, "seconds": 1, "sha256": None, "tail": "3 passed"}
ITEMS = ("It is tested", "It greets", "It is described", "It is short", "It is fast")
COMMAND = {"block": "b1", "tool": "t", "name": "Bash", "title": "Run it", "input": {"command": "./greet.sh alice"}}


def submit(engine: Engine, ticket_id: int, claim_list: list[dict[str, Any]], check: dict[str, Any] = CHECK) -> int:
    """A run that calls one command and submits these claims. Returns its number."""
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        calls = [("agent.tool_call", COMMAND), ("agent.tool_result", {"block": "b1", "output": "Hi", "exit_code": 0})]
        batch = [
            ingest.WorkerEvent.model_validate({"run_seq": number, "event_type": kind, "payload": payload})
            for number, (kind, payload) in enumerate(calls, 1)
        ]
        ingest.ingest_events(session, run.id, batch)
        observations = SEEN | {"tree_sha": TREE, "check": check}
        body = {"verdict": "review", "summary": "Done.", "observations": observations, "claims": claim_list}
        reports.apply_report(session, run.id, reports.RunReport.model_validate(body), reports.RetryPolicy())
    return run.id


def prove(place: int, kind: str, ref: str = "") -> dict[str, Any]:
    return {"text": f"Item {place} is met", "item": place, "proof": {"kind": kind, "ref": ref}}


def load_items(engine: Engine, ticket_id: int) -> list[ItemEvidence]:
    with reading(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        return item_evidence.build_items(session, ticket, evidence.list_evidence(session, ticket_id))


def describe(engine: Engine, ticket_id: int) -> list[tuple[str, bool, str]]:
    return [(item.label, item.is_stale, item.reason) for item in load_items(engine, ticket_id)]


def record_head(engine: Engine, ticket_id: int, commit: str, tree: str) -> None:
    with writing(engine) as session:
        branch_states.record_head(session, ticket_id, commit, tree)


@pytest.fixture
def ticket_id(engine: Engine) -> int:
    with writing(engine) as session:
        project(session).check_command = ["make", "test"]
    return make(engine, project="web", acceptance=ITEMS)


@pytest.mark.both_databases
def test_an_item_opens_what_proves_it_until_the_files_change(engine: Engine, ticket_id: int) -> None:
    run = submit(
        engine,
        ticket_id,
        [
            prove(0, "check"),
            prove(1, "event", "greet.sh alice"),
            prove(2, "diff", "docs/a b.md:10-12"),
            {"text": "It is short", "item": 3},
            {"text": "Of no item"},
        ],
    )
    items = load_items(engine, ticket_id)
    assert [item.state for item in items] == [*[ItemState.VERIFIED] * 3, ItemState.GAPS, ItemState.UNVERIFIED]
    assert items[3].reason == "Claimed without a proof" and items[4].reason == "No evidence yet"
    hrefs = [proof.href for item in items for proof in item.proofs]
    assert hrefs[0].startswith(f"/ticket/MC-1?tab=evidence&run={run}#fact-")
    assert hrefs[1].startswith("/ticket/MC-1?before=") and "#entry-m" in hrefs[1]
    assert hrefs[2] == f"/ticket/MC-1?tab=changes&run={run}#line=docs/a%20b.md:10"
    assert {proof.commit for item in items for proof in item.proofs} == {SHA}

    record_head(engine, ticket_id, "d" * 40, TREE)
    assert not any(item.is_stale for item in load_items(engine, ticket_id)), "another message, the same files"
    record_head(engine, ticket_id, "d" * 40, LATER_TREE)
    assert describe(engine, ticket_id)[:3] == [("With gaps", True, "The files have changed since it was proven")] * 3


def test_the_commands_of_a_run_are_read_once_for_all_claims(engine: Engine, ticket_id: int) -> None:
    """Regression: an agent with many claims made the write lock of the store last for seconds."""
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    submit(engine, ticket_id, [prove(place, "event", "greet.sh alice") for place in range(5)])
    assert [item.label for item in load_items(engine, ticket_id)] == ["Verified"] * 5
    reads = [
        text for text in statements if "FROM ticket_messages" in text and "ORDER BY ticket_messages.seq DESC" in text
    ]
    assert len(reads) == 1


def test_a_reference_that_proves_nothing_leaves_a_gap(engine: Engine, ticket_id: int) -> None:
    failed_check = CHECK | {"exit_code": 1}
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(str(call[2])))
    submit(
        engine,
        ticket_id,
        [
            prove(0, "check"),
            prove(1, "event", "rm -rf /"),
            prove(1, "event", "rm -rf ~"),
            prove(2, "diff", "src/b.py:3"),
            prove(3, "event", "999"),
            prove(4, "hologram", "x"),
        ],
        failed_check,
    )
    assert sum("ORDER BY ticket_messages.seq DESC" in statement for statement in statements) == 1, "read once for all"
    spans = {"src/a.py": [(2, 3)]}
    with writing(engine) as session:
        trial = TrialResult(ticket_id, SHA, TREE, "main", SHA, spans=spans)
        branch_states.record_trials(session, [trial])
    assert describe(engine, ticket_id) == [
        ("With gaps", False, "The check command failed"),
        ("With gaps", False, "The run's transcript has no such step"),
        ("With gaps", False, "src/b.py is not among the changed files"),
        ("With gaps", False, "The run's transcript has no such step"),
        ("With gaps", False, "This version does not know this kind of proof"),
    ]


@pytest.mark.both_databases
def test_a_person_decides_and_a_mark_is_of_the_files_it_was_made_for(engine: Engine, ticket_id: int) -> None:
    def judge(place: int, state: ItemState | None, note: str = "", actor: Actor = ALICE) -> None:
        with writing(engine) as session:
            ticket = lookup.get_ticket(session, ticket_id)
            acceptance.judge_item(session, ticket, Item(place, ITEMS[place]), state, note, actor)

    judge(3, ItemState.VERIFIED)
    with reading(engine) as session:
        judgements = [row for row in evidence.list_evidence(session, ticket_id) if row.kind == item_evidence.JUDGEMENT]
    assert len(judgements) == 1, "the mark that follows from a decision is no second one"
    assert describe(engine, ticket_id)[3] == ("Verified", False, "Verified by alice")
    submit(engine, ticket_id, [prove(0, "check")])
    assert describe(engine, ticket_id)[3] == (
        "With gaps",
        True,
        "Verified by alice, but the files have changed since",
    ), "it was decided before there was any work"
    judge(0, ItemState.UNVERIFIED, "It tests nothing")
    judge(1, ItemState.VERIFIED)
    judge(2, ItemState.GAPS)
    assert describe(engine, ticket_id)[:3] == [
        ("Not verified", False, "It tests nothing"),
        ("Verified", False, "Verified by alice"),
        ("With gaps", False, "With gaps by alice"),
    ]
    with reading(engine) as session:
        assert [item["met"] for item in lookup.get_ticket(session, ticket_id).acceptance[:3]] == [False, True, False]
    with pytest.raises(Forbidden):
        judge(0, ItemState.VERIFIED, actor=Actor.system("bot"))
    judge(0, None)
    record_head(engine, ticket_id, "d" * 40, LATER_TREE)
    assert describe(engine, ticket_id)[:2] == [
        ("With gaps", True, "The files have changed since it was proven"),
        ("With gaps", True, "Verified by alice, but the files have changed since"),
    ]
    judge(1, ItemState.VERIFIED)
    assert describe(engine, ticket_id)[1] == ("Verified", False, "Verified by alice")

    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        turned = [*reversed(ticket.acceptance[:2]), {"text": "It sings", "met": False}]
        body = EditTicket.model_validate({"version": ticket.version, "acceptance": turned})
        editing.edit_ticket(session, ticket, body, ALICE)
    assert [item.label for item in load_items(engine, ticket_id)] == ["Verified", "With gaps", "Not verified"]


def test_the_agent_is_asked_for_a_proof_at_once_or_with_the_return_of_the_ticket(
    engine: Engine, ticket_id: int
) -> None:
    def ask() -> str:
        with writing(engine) as session:
            ticket = lookup.get_ticket(session, ticket_id)
            return proof_request.ask_for_proof(session, ticket, Item(1, ITEMS[1]), ALICE, "alice")["became"]

    submit(engine, ticket_id, [])
    assert ask() == "request_changes"
    with writing(engine) as session:
        assert lookup.get_ticket(session, ticket_id).status is TicketStatus.TODO
        run = claims.claim_ticket(session, ticket_id, "here").run
    assert ask() == "message"
    with writing(engine) as session:
        question = reports.RunReport.model_validate({"verdict": "question", "summary": "Which?", "question": {}})
        reports.apply_report(session, run.id, question, reports.RetryPolicy())
    with pytest.raises(ConflictError, match="Answer its question first"):
        ask()
    move(engine, ticket_id, "answer", body="This one")
