"""Disagreements between the state of tickets and the facts, each of which becomes one inbox item."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from database import reading, writing
from models import ActorKind, Attempt, InboxItem, Run, Ticket, TicketStatus, now
from tickets.operations import board_sweep, inbox_items
from tickets.shared.actors import Actor
from tickets.workflow import relationships

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
