"""Disagreements between the state of tickets and the facts, each of which becomes one inbox item."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import ActorKind, Attempt, EvidenceStatus, InboxItem, Run, Ticket, TicketStatus, now
from tickets.loops import board_sweep
from tickets.operations import inbox_items
from tickets.shared.actors import Actor
from tickets.workflow import evidence, relationships

from .test_spine import ALICE, make

pytestmark = pytest.mark.both_databases
SWEEP = Actor(ActorKind.SERVICE, "orchestrator-board-sweep")
LONG_AGO = now() - timedelta(hours=1)


def find(engine: Engine) -> set[tuple[str, str | None]]:
    """Find the kinds and tickets of the items that a sweep would file."""
    with reading(engine) as session:
        return {(item.kind, item.ticket) for item in board_sweep.list_findings(session)}


def put(engine: Engine, status: str, *, moved: Any = LONG_AGO, **columns: Any) -> int:
    """Make a ticket in a state, since an hour ago."""
    ticket_id = make(engine)
    with writing(engine) as session:
        values = {"status": TicketStatus(status), "moved": moved, **columns}
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(**values))
    return ticket_id


def add_run(engine: Engine, ticket_id: int, **facts: Any) -> None:
    with writing(engine) as session:
        token = f"token-{ticket_id}"
        session.add(
            Run(ticket_id=ticket_id, generation=1, agent="script", host="h", token_hash=token, nonce="n", **facts)
        )


def test_states_that_facts_contradict_are_found_once_and_those_that_agree_are_not(engine: Engine) -> None:
    put(engine, "in_progress")  # MC-1: no run
    busy = put(engine, "in_progress")
    add_run(engine, busy)
    put(engine, "in_progress", moved=now())  # too new
    stray = put(engine, "blocked", block={"reason": "environment", "next_action": "x", "owner": "alice"})  # MC-4
    add_run(engine, stray)
    done = put(engine, "done")
    put(engine, "waiting", wake={"kind": "ticket", "ticket": "MC-5"}, wake_ticket_id=done)  # MC-6
    put(engine, "waiting", wake={"kind": "ticket", "ticket": "MC-99"})  # MC-7: its ticket was purged
    put(engine, "waiting", wake={"kind": "manual"})
    freed = put(engine, "blocked", block={"reason": "dependency", "next_action": "x", "owner": "alice"})  # MC-9
    parent, child = put(engine, "done"), put(engine, "todo")  # MC-10, MC-11
    tried, attempt = put(engine, "todo"), put(engine, "cancelled")  # MC-12, MC-13
    empty = put(engine, "in_review")  # MC-14
    add_run(engine, empty, repository="/srv/web", state="ended", ended=LONG_AGO)
    put(engine, "in_review")  # of a folder without a repository
    with writing(engine) as session:
        relationships.add_relationship(session, done, "blocks", freed, ALICE)
        relationships.add_relationship(session, child, "child_of", parent, ALICE)
        session.add(Attempt(ticket_id=attempt, parent_id=tried))
    expected = {
        ("sweep-no-run", "MC-1"),
        ("sweep-stray-run", "MC-4"),
        ("sweep-awaits-ended", "MC-6"),
        ("sweep-awaits-ended", "MC-7"),
        ("sweep-unblocked", "MC-9"),
        ("sweep-open-children", "MC-10"),
        ("sweep-ended-attempts", "MC-12"),
        ("sweep-no-commits", "MC-14"),
    }
    assert find(engine) == expected

    with writing(engine) as session:
        for item in board_sweep.list_findings(session):
            inbox_items.file_item(session, item, SWEEP)
        inbox_items.dismiss_item(session, 1, "It is known.", ALICE)
    assert find(engine) == set(), "an item is filed once, settled or not"
    with writing(engine) as session:
        session.execute(update(InboxItem).values(created=LONG_AGO - timedelta(hours=1)))
    assert find(engine) == expected, "the tickets came into their states after that"


def test_work_that_was_done_lately_on_this_host_is_verified_again_newest_first(engine: Engine) -> None:
    days = {1: 1, 2: 3, 3: 31, 4: 2}
    for ticket_id, age in days.items():
        closed = now() - timedelta(days=age)
        assert put(engine, "done", moved=closed, closed=closed) == ticket_id
        add_run(engine, ticket_id, repository="/srv/web", state="ended", ended=closed)
        with writing(engine) as session:
            run = session.scalars(select(Run).where(Run.ticket_id == ticket_id)).one()
            facts = [("commit", {"head_sha": "a" * 40}), ("check", {})] if ticket_id != 4 else [("commit", {})]
            for kind, data in facts:
                evidence.record_fact(session, ticket_id, run.id, (kind, EvidenceStatus.OK, kind, data))
    with reading(engine) as session:
        candidates = board_sweep.list_recheck_candidates(session, "h")
        assert [work.ticket.id for work in candidates] == [1, 2], "not too old, and with a commit"
        assert board_sweep.list_recheck_candidates(session, "elsewhere") == []
    with writing(engine) as session:
        board_sweep.record_recheck(session, candidates[0], "held", "it holds", SWEEP)
        landing = {"policy": "squash", "commit": "b" * 40, "base": "main"}
        evidence.record_fact(session, 2, candidates[1].run.id, ("landing", EvidenceStatus.OK, "Landed.", landing))
    with reading(engine) as session:
        assert [work.ticket.id for work in board_sweep.list_recheck_candidates(session, "h")] == [2]
        [unmerged] = board_sweep.list_unmerged_candidates(session, "h")
    assert (unmerged.ticket.id, unmerged.landed, unmerged.base) == (2, "b" * 40, "main")
