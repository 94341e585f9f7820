"""A move is taken back exactly, or not at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from database import reading, writing
from models import InboxItem, InboxState, Run, Ticket, TicketEvent, TicketStatus, now
from tickets.lifecycle import editing, transitions, undo
from tickets.runs import claims, reports
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.inputs import EditTicket
from tickets.shared.lookup import get_ticket
from tickets.workflow import relationships

from .test_spine import ALICE, make

COLUMNS = {column.name for column in Ticket.__table__.columns}
COUNTED = {"version", "updated", "event_seq"}
FREE = {"assigned_to": None}
PARK: dict[str, Any] = {"wake": {"kind": "time", "at": "2999-01-01T00:00:00Z"}}
BLOCK: dict[str, Any] = {"reason": "dependency", "owner": "bob", "next_action": "Answer the mail"}


def row(engine: Engine) -> dict[str, Any]:
    with reading(engine) as session:
        ticket = get_ticket(session, 1)
        return {name: getattr(ticket, name) for name in COLUMNS - COUNTED}


def move(engine: Engine, name: str, /, **facts: Any) -> None:
    with writing(engine) as session:
        transitions.transition(session, 1, name, ALICE, **facts)


def take_back(engine: Engine, actor: Actor = ALICE) -> None:
    with writing(engine) as session:
        undo.undo_move(session, "MC-1", actor)


@pytest.mark.parametrize(
    ("status", "before", "name", "facts"),
    [
        ("inbox", [], "triage", {"priority": "high"}),
        ("todo", [], "park", PARK),
        ("todo", [("park", PARK)], "wake", {}),
        ("todo", [("park", PARK)], "park", {"wake": {"kind": "manual"}}),
        ("todo", [], "block", BLOCK),
        ("todo", [("block", BLOCK)], "unblock", {}),
        ("todo", [], "cancel", {}),
        ("todo", [("cancel", {})], "reopen", {"to": "inbox"}),
        ("todo", [], "start", {}),
    ],
)  # fmt: skip
def test_a_move_is_taken_back_to_the_last_column(
    engine: Engine, status: str, before: list[Any], name: str, facts: dict[str, Any]
) -> None:
    make(engine, status=status, **FREE)
    with writing(engine) as session:
        session.execute(update(Ticket).values(attempts=2, last_failure="crash"))
    for earlier, arguments in before:
        move(engine, earlier, **arguments)
    stored_row = row(engine)
    move(engine, name, **facts)
    assert row(engine) != stored_row
    take_back(engine)
    assert row(engine) == stored_row


@pytest.mark.both_databases
def test_it_is_taken_back_once_by_who_made_it_and_within_its_time(engine: Engine) -> None:
    make(engine, **FREE)
    move(engine, "park", **PARK)
    with pytest.raises(ConflictError):
        take_back(engine, Actor.human("bob"))
    take_back(engine)
    with pytest.raises(ConflictError):
        take_back(engine)
    move(engine, "park", **PARK)
    with writing(engine) as session:
        session.execute(update(TicketEvent).values(ts=now() - timedelta(seconds=13)))
    with pytest.raises(ConflictError):
        take_back(engine)


@pytest.mark.both_databases
def test_a_ticket_that_was_edited_or_claimed_since_stays(engine: Engine) -> None:
    make(engine, status="inbox")
    move(engine, "triage")
    with writing(engine) as session:
        claims.claim_ticket(session, 1, "here")
    with pytest.raises(ConflictError):
        take_back(engine)
    make(engine, **FREE)
    with writing(engine) as session:
        transitions.transition(session, 2, "park", ALICE, **PARK)
        editing.edit_ticket(session, get_ticket(session, 2), EditTicket(version=2, title="Other"), ALICE)
        assert undo.find_undo_offer(session, get_ticket(session, 2), ALICE) is None


def test_a_move_that_stopped_a_run_stays(engine: Engine) -> None:
    make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, 1, "here").run.id
    move(engine, "park", **PARK)
    with pytest.raises(ConflictError):
        take_back(engine)
    with writing(engine) as session:
        reports.apply_report(
            session, run, reports.RunReport(verdict="stopped", summary="Stopped."), reports.RetryPolicy()
        )
    with pytest.raises(ConflictError):
        take_back(engine)


def test_an_end_that_another_ticket_goes_by_stays(engine: Engine) -> None:
    first, second = make(engine, **FREE), make(engine, **FREE)
    with writing(engine) as session:
        relationships.add_relationship(session, first, "blocks", second, ALICE)
    move(engine, "close", note="Done by hand")
    with pytest.raises(ConflictError):
        take_back(engine)


def test_a_review_that_comes_back_is_filed_again(engine: Engine) -> None:
    make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, 1, "here").run.id
        reports.apply_report(session, run, reports.RunReport(verdict="review", summary="Look."), reports.RetryPolicy())
    with writing(engine) as session:
        session.execute(update(Run).values(ended=now() - timedelta(minutes=1)))
    move(engine, "park", **PARK)
    take_back(engine)
    assert row(engine)["status"] is TicketStatus.IN_REVIEW
    with reading(engine) as session:
        assert [item.state for item in session.query(InboxItem).order_by(InboxItem.id)] == [
            InboxState.ACTED,
            InboxState.PENDING,
        ]
