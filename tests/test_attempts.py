"""Several attempts at one ticket: who works them, which one is kept, and what becomes of the parent."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select

from database import reading, writing
from models import Attempt, Gate, Ticket, TicketStatus
from tickets.board import attempts_view, columns
from tickets.board.columns import Viewer
from tickets.conversation import context
from tickets.conversation.context import NewContext
from tickets.dispatch import dispatch_plan, policy
from tickets.lifecycle import undo
from tickets.planning import attempts
from tickets.planning.attempts import StartAttempts
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, Invalid
from tickets.workflow.attempts import ALL_CANCELLED, find_group

from .test_landing import BOB, SEEN, get, move, project
from .test_spine import ALICE, make

NAMES = ["script", "claude", "codex"]
CHECK: dict[str, Any] = {"argv": ["make", "test"], "seconds": 1, "sha256": None, "tail": ""}


def start(engine: Engine, ticket_id: int, *names: str, actor: Actor = ALICE) -> list[int]:
    with writing(engine) as session:
        body = StartAttempts(agents=list(names or NAMES))
        return [row.id for row in attempts.start_attempts(session, lookup.get_ticket(session, ticket_id), body, actor)]


def submit(engine: Engine, ticket_id: int, exit_code: int = 0) -> None:
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        seen = SEEN | {"insertions": 7, "deletions": 2, "check": CHECK | {"exit_code": exit_code}}
        body = {"verdict": "done", "summary": "Done.", "observations": seen, "usage": {"cost_usd": 0.25}}
        reports.apply_report(session, run.id, reports.RunReport.model_validate(body), reports.RetryPolicy())


def keep(engine: Engine, ticket_id: int, actor: Actor = ALICE) -> list[str]:
    with writing(engine) as session:
        cancelled = attempts.keep_attempt(session, lookup.get_ticket(session, ticket_id), actor)
        return [ticket.identifier for ticket in cancelled]


def list_statuses(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return [status.value for status in session.scalars(select(Ticket.status).order_by(Ticket.id))]


@pytest.fixture
def parent(engine: Engine) -> int:
    with writing(engine) as session:
        web = project(session, "leave")
        web.gate, web.max_runs = Gate.NONE, 3
    return make(engine, project="web", tags=["bug"], priority="high", acceptance=["It greets"], assigned_to=None)


@pytest.mark.both_databases
def test_each_agent_gets_the_wish_and_the_parent_waits(engine: Engine, parent: int) -> None:
    with writing(engine) as session:
        context.add_context(session, parent, NewContext(path="notes/greeting.md", note="How"), ALICE)
    ids = start(engine, parent)
    with reading(engine) as session:
        tickets = [lookup.get_ticket(session, ticket_id) for ticket_id in ids]
        assert [ticket.assigned_to for ticket in tickets] == NAMES
        assert {(ticket.title, ticket.gate, ticket.priority.label) for ticket in tickets} == {
            ("Write a line", Gate.PERSON, "high")
        }
        assert all(ticket.acceptance == [{"text": "It greets", "met": False}] for ticket in tickets)
        assert [link.note for link in context.list_context(session, ids[2])] == ["How"]
        plan = dispatch_plan.plan_dispatch(session, policy.DispatchLimits())
        assert [ticket.id for ticket in plan.claim] == ids, "the parent does not start"
        card = columns.build_cards(session, [get(engine, parent)], Viewer(ALICE, policy.DispatchLimits()))[parent]
        assert card.reason is not None and card.reason.text == "Waits for its attempts MC-2, MC-3, MC-4"
    move(engine, parent, "wake", assigned_to="script")
    with reading(engine) as session:
        gates = policy.check_ticket(session, get(engine, parent), None, policy.DispatchLimits())
    assert [gate.detail for gate in gates if not gate.ok] == [
        "It waits for its attempts MC-2, MC-3, MC-4: keep one of them."
    ]


@pytest.mark.both_databases
def test_keeping_one_cancels_the_others_and_its_end_completes_the_parent(engine: Engine, parent: int) -> None:
    first, second, third = start(engine, parent)
    submit(engine, first)
    submit(engine, second, exit_code=1)
    with writing(engine) as session:
        run = claims.claim_ticket(session, third, "here").run
    with reading(engine) as session:
        group = find_group(session, second)
        assert group is not None and find_group(session, make(engine)) is None
        comparison = attempts_view.load_comparison(session, get(engine, second), group, ALICE)
        assert comparison.own is not None and comparison.own.ticket == "MC-3"
        assert [(view.check, view.files, view.insertions, view.deletions) for view in comparison.attempts] == [
            (True, 1, 7, 2),
            (False, 1, 7, 2),
            (None, None, 0, 0),
        ]
        assert [view.cost_usd for view in comparison.attempts] == [0.25, 0.25, None]
        assert all(view.seconds is not None and view.may_keep for view in comparison.attempts)
        comparison = attempts_view.load_comparison(session, group.parent, group, BOB)
        assert comparison.own is None and not any(view.may_keep for view in comparison.attempts)

    assert keep(engine, first) == ["MC-3", "MC-4"]
    assert list_statuses(engine)[:4] == ["waiting", "in_review", "cancelled", "cancelled"]
    with reading(engine) as session:
        assert lookup.get_run(session, run.id).stop_code == "cancelled"
        assert list(session.scalars(select(Attempt.kept).order_by(Attempt.ticket_id))) == [True, False, False]
    move(engine, first, "approve", waive="It greets well.")
    assert list_statuses(engine)[:4] == ["done", "done", "cancelled", "cancelled"]
    with reading(engine) as session:
        assert undo.find_undo_offer(session, get(engine, first), ALICE) is None


def test_an_attempt_that_is_approved_first_ends_the_others(engine: Engine, parent: int) -> None:
    first, second = start(engine, parent, "script", "codex")
    submit(engine, second)
    assert get(engine, second).status is TicketStatus.IN_REVIEW, (
        "a person compares it, although the project has no gate"
    )
    move(engine, second, "approve", waive="Good enough.")
    assert list_statuses(engine) == ["done", "cancelled", "done"]
    with pytest.raises(ConflictError, match="was cancelled"):
        keep(engine, first)


def test_only_a_person_tries_what_has_not_begun_with_different_agents(engine: Engine, parent: int) -> None:
    with pytest.raises(Forbidden):
        start(engine, parent, actor=BOB)
    for names, error in ((["script", "script"], "different agents"), (["script", "operator"], "cannot run operator")):
        with pytest.raises(Invalid, match=error):
            start(engine, parent, *names)
    with_phases = make(engine, phases=[{"name": "Dev", "agent": "script"}])
    begun = make(engine)
    with writing(engine) as session:
        claims.claim_ticket(session, begun, "here")
    attempt = start(engine, parent, "script", "codex")[0]
    for ticket_id, error in (
        (with_phases, "phases"),
        (begun, "has begun"),
        (attempt, "or is one"),
        (parent, "has attempts already"),
    ):
        with pytest.raises(ConflictError, match=error):
            start(engine, ticket_id)
    with pytest.raises(Forbidden):
        keep(engine, attempt, BOB)
    for ticket_id in (parent, begun):
        with pytest.raises(Invalid, match="not one of several attempts"):
            keep(engine, ticket_id)


@pytest.mark.both_databases
def test_a_ticket_whose_attempts_were_all_cancelled_returns_to_whoever_cancelled(engine: Engine, parent: int) -> None:
    first, second = start(engine, parent, "script", "codex")
    submit(engine, second)
    move(engine, first, "cancel")
    assert get(engine, parent).status is TicketStatus.WAITING, "one attempt is open"
    move(engine, second, "cancel")
    ticket = get(engine, parent)
    assert ticket.status is TicketStatus.BLOCKED and ticket.block is not None
    assert (ticket.block["owner"], ticket.block["next_action"]) == (ALICE.name, ALL_CANCELLED)

    third, fourth = start(engine, parent, "script", "codex")
    assert get(engine, parent).status is TicketStatus.WAITING, "others are started, as it was advised"
    keep(engine, third)
    assert get(engine, parent).status is TicketStatus.WAITING, "the kept one completes it"
    assert get(engine, fourth).status is TicketStatus.CANCELLED
    move(engine, third, "cancel")
    assert get(engine, parent).status is TicketStatus.BLOCKED


def test_a_ticket_of_the_inbox_is_not_left_to_triage_when_its_attempts_were_cancelled(engine: Engine) -> None:
    ticket = make(engine, status="inbox", assigned_to=None)
    attempts_started = start(engine, ticket, "script", "codex")
    for attempt in attempts_started:
        move(engine, attempt, "cancel")
    assert get(engine, ticket).status is TicketStatus.BLOCKED
    closed = make(engine, assigned_to=None)
    attempts_started = start(engine, closed, "script", "codex")
    move(engine, closed, "cancel")
    for attempt in attempts_started:
        move(engine, attempt, "cancel")
    assert get(engine, closed).status is TicketStatus.CANCELLED
