"""The order of To do: what pickup takes next, what the board shows, and how a person changes it."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, event, update

from database import Session, reading, writing
from models import ActorKind, Ticket
from settings import Budget
from tickets.board import columns
from tickets.board.columns import Filters, Viewer
from tickets.dispatch import dispatch_plan, queue_order
from tickets.dispatch.budgets import Budgets
from tickets.dispatch.policy import DispatchLimits
from tickets.dispatch.queue_order import QueuePlace
from tickets.lifecycle import editing, transitions
from tickets.runs import claims
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, Invalid
from tickets.shared.inputs import EditTicket
from tickets.shared.lookup import get_ticket
from tickets.team import agents, projects
from tickets.team.agents import EditAgent
from tickets.team.projects import NewProject

from .test_spine import ALICE, make

LIMITS = DispatchLimits(total=20)


def place(engine: Engine, ticket_id: int, **where: str) -> None:
    with writing(engine) as session:
        queue_order.place_ticket(session, get_ticket(session, ticket_id), QueuePlace.model_validate(where), ALICE)


def list_column(session: Session, size: int = 30) -> list[int]:
    """List the tickets of To do as the board shows them, page by page."""
    numbers, cursor, is_first = [], None, True
    while is_first or cursor:
        page = columns.load_column(session, "todo", Filters(), Viewer(ALICE, LIMITS), cursor, size)
        numbers += [int(card.identifier.removeprefix("MC-")) for card in page.cards]
        cursor, is_first = page.next_cursor, False
    return numbers


def require_order(engine: Engine, *expected: int) -> None:
    """Require that pickup and board have this order."""
    with reading(engine) as session:
        claims = [ticket.id for ticket in dispatch_plan.plan_dispatch(session, LIMITS).claim]
        assert claims == list_column(session) == list_column(session, 2) == list(expected)


@pytest.mark.both_databases
def test_pickup_and_board_have_the_order_that_people_chose(engine: Engine) -> None:
    with writing(engine) as session:
        agents.edit_agent(session, "script", EditAgent(capacity=20), ALICE)
        for slug in ("web", "api"):
            projects.add_project(session, NewProject(slug=slug, name=slug, folder=f"/srv/{slug}", max_runs=9), ALICE)
    web = [make(engine, project="web") for _ in range(4)]
    urgent, other = make(engine, project="api", priority="urgent"), make(engine, project="api")
    resumed = make(engine, priority="low")
    with writing(engine) as session:
        session.execute(update(Ticket).where(Ticket.id == resumed).values(resume=True))
    require_order(engine, resumed, urgent, *web, other)

    place(engine, web[3], after=f"MC-{web[0]}")
    require_order(engine, resumed, web[0], web[3], urgent, web[1], web[2], other)
    place(engine, other, to="top")
    require_order(engine, resumed, web[0], other, web[3], urgent, web[1], web[2])
    place(engine, web[3], to="up")
    require_order(engine, resumed, web[3], other, web[0], urgent, web[1], web[2])
    place(engine, web[3], to="down")
    place(engine, web[2], before=f"MC-{web[3]}")
    require_order(engine, resumed, web[0], other, web[2], web[3], urgent, web[1])
    place(engine, web[2], to="unranked")
    place(engine, other, to="unranked")
    require_order(engine, resumed, web[0], web[3], urgent, web[1], web[2], other)

    with writing(engine) as session:  # the first of one project is not the first of another
        ticket = get_ticket(session, web[0])
        body = EditTicket.model_validate({"version": ticket.version, "project": "api"})
        editing.edit_ticket(session, ticket, body, ALICE)
    require_order(engine, resumed, web[3], urgent, web[0], web[1], web[2], other)


def test_a_place_in_another_queue_and_that_of_a_program_are_refused(engine: Engine) -> None:
    with writing(engine) as session:
        projects.add_project(session, NewProject(slug="web", name="Web", folder="/srv/web"), ALICE)
    mine, other, parked = make(engine), make(engine, project="web"), make(engine)
    with writing(engine) as session:
        transitions.transition(session, parked, "park", ALICE, wake={"kind": "manual"})
    with pytest.raises(Invalid, match="not among the first 200 tickets in To do of the same project"):
        place(engine, mine, before=f"MC-{other}")
    with pytest.raises(ConflictError, match="Only tickets in To do"):
        place(engine, parked, to="top")
    with pytest.raises(Forbidden), writing(engine) as session:
        service = Actor(ActorKind.SERVICE, "ci")
        queue_order.place_ticket(session, get_ticket(session, mine), QueuePlace(to="top"), service)


def test_a_ticket_behind_the_first_part_of_a_queue_takes_no_step(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a step down put it before those that it was behind."""
    monkeypatch.setattr(queue_order, "MAX_PLACES", 2)
    first, second, third = (make(engine) for _ in range(3))
    for step in ("up", "down"):
        with pytest.raises(Invalid, match=f"MC-{third} is not among the first 2 tickets"):
            place(engine, third, to=step)
    place(engine, third, to="top")
    with reading(engine) as session:
        assert list_column(session) == [third, first, second]


def test_one_ticket_is_next_while_all_slots_are_taken_and_a_budget_holds_the_others(engine: Engine) -> None:
    first, _ = make(engine), make(engine)

    def list_notes(limits: DispatchLimits) -> list[str]:
        with reading(engine) as session:
            page = columns.load_column(session, "todo", Filters(), Viewer(ALICE, limits))
            return [f"{card.identifier}: {card.reason.text}" for card in page.cards if card.reason]

    assert list_notes(DispatchLimits(total=0)) == [f"MC-{first}: Starts next"]
    with writing(engine) as session:
        claims.claim_ticket(session, first, "here")
    day_limit = Budgets(Budget(day_runs=1), ZoneInfo("UTC"))
    assert list_notes(DispatchLimits(budgets=day_limit)) == ["MC-2: On hold: budget"]


def test_the_index_of_the_queue_serves_a_pass_without_sorting(engine: Engine) -> None:
    statements: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *seen: statements.append((seen[2], seen[3])))
    with reading(engine) as session:
        dispatch_plan.plan_dispatch(session, LIMITS)
        dispatch_plan.load_head(session)
    ordered = [(statement, values) for statement, values in statements if "ORDER BY tickets.resume" in statement]
    assert len(ordered) == 3
    with engine.connect() as connection:
        for statement, values in ordered:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            assert "SEARCH tickets USING INDEX tickets_queue (status=?)" in plan
            assert not any("TEMP B-TREE" in step for step in plan)
