"""Plans that people approve before they are carried out, and what a run tells of its checklist and its model."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import (
    ActorKind,
    Planning,
    PlanState,
    Profile,
    RequestState,
    Run,
    RunMode,
    RunRequest,
    RunState,
    Ticket,
    TicketStatus,
)
from tickets.board import status_reason
from tickets.conversation import requests
from tickets.conversation.requests import Reply
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import editing, transitions
from tickets.planning import plans
from tickets.planning.plans import ApprovePlan, EditPlan, ReturnPlan
from tickets.runs import heartbeat, ingest, model_change, prompt, reports
from tickets.runs.heartbeat import RunHeartbeat
from tickets.runs.ingest import WorkerEvent
from tickets.runs.model_change import ChangeModel
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden
from tickets.shared.inputs import EditTicket, NewTicket
from tickets.shared.lookup import get_run, get_ticket

from .test_sessions import claimed
from .test_spine import ALICE, make


def send(engine: Engine, run: Run, number: int, kind: str, **payload: Any) -> None:
    line = {"run_seq": number, "ts": "2026-01-01T00:00:00Z", "event_type": f"agent.{kind}", "payload": payload}
    with writing(engine) as session:
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(line)])


def list_versions(engine: Engine, ticket_id: int) -> list[tuple[int, str, PlanState, ActorKind]]:
    with reading(engine) as session:
        rows = plans.list_plans(session, ticket_id)
        return [(row.version, row.body, row.state, row.author_kind) for row in rows]


def compose(engine: Engine, run: Run) -> str:
    with reading(engine) as session:
        return prompt.compose_prompt(session, get_ticket(session, run.ticket_id), get_run(session, run.id))


def plan_of(engine: Engine, **facts: Any) -> tuple[int, Run]:
    """A ticket whose live run waits with the plan `Do it.`"""
    ticket_id = make(engine, assigned_to="claude", planning="first", **facts)
    run = claimed(engine, ticket_id)
    send(engine, run, 1, "plan", request="r-1", text="Do it.")
    return ticket_id, run


@pytest.mark.both_databases
def test_a_live_process_is_told_the_plan_as_a_person_has_edited_it(engine: Engine) -> None:
    ticket_id, run = plan_of(engine)
    assert run.plans and "## Plan first" in compose(engine, run)
    with writing(engine) as session:
        ticket = get_ticket(session, ticket_id)
        waits = status_reason.load_reasons(session, [ticket], {ticket_id: get_run(session, run.id)}, DispatchLimits())
        assert waits[ticket_id].text == "The plan waits for a person."
        with pytest.raises(ConflictError, match="approve it or send it back"):
            requests.answer_request(session, ticket_id, Reply(request="r-1"), ALICE)
        plans.edit_plan(session, ticket, EditPlan(version=1, body="Do it well."), ALICE)
        with pytest.raises(ConflictError, match="read version 2"):
            plans.approve_plan(session, ticket, ApprovePlan(version=1), ALICE)
        assert plans.approve_plan(session, ticket, ApprovePlan(version=2, body="Do it best."), ALICE) == run.id
        answers = heartbeat.record_heartbeat(session, run.id, RunHeartbeat(state="waiting"))["answers"]
        with pytest.raises(ConflictError, match="already approved"):
            plans.return_plan(session, ticket, ReturnPlan(version=3, comment="No."), ALICE)

    assert [(answer["request"], answer["behavior"], answer["message"]) for answer in answers] == [
        ("r-1", "allow", "Do it best.")
    ]
    assert list_versions(engine, ticket_id) == [
        (3, "Do it best.", PlanState.APPROVED, ActorKind.HUMAN),
        (2, "Do it well.", PlanState.REPLACED, ActorKind.HUMAN),
        (1, "Do it.", PlanState.REPLACED, ActorKind.RUN),
    ]


@pytest.mark.both_databases
def test_the_report_of_a_run_that_plans_is_a_plan_and_the_next_run_gets_it_approved(engine: Engine) -> None:
    """An agent that says DONE instead of waiting for a person has not finished the ticket."""
    ticket_id = make(engine, assigned_to="claude", planning="first", gate="none")
    first = claimed(engine, ticket_id)
    with writing(engine) as session:
        report = reports.RunReport(verdict="done", summary="I would do it.")
        done = reports.apply_report(session, first.id, report, reports.RetryPolicy())
    assert done.ticket.status is TicketStatus.NEEDS_INPUT
    with writing(engine) as session:
        plans.return_plan(session, get_ticket(session, ticket_id), ReturnPlan(version=1, comment="Tests too."), ALICE)
    second = claimed(engine, ticket_id)
    assert second.plans and "Tests too." in compose(engine, second)
    send(engine, second, 1, "plan", text="With tests.")
    with writing(engine) as session:
        report = reports.RunReport(verdict="question", summary="The plan waits.", question={})
        reports.apply_report(session, second.id, report, reports.RetryPolicy())
        ticket = get_ticket(session, ticket_id)
        assert plans.approve_plan(session, ticket, ApprovePlan(version=2), ALICE) is None
        assert get_ticket(session, ticket_id).status is TicketStatus.TODO
    third = claimed(engine, ticket_id)
    assert not third.plans
    text = compose(engine, third)
    assert "## The approved plan" in text and "With tests." in text and "## Plan first" not in text


def test_no_agent_and_no_program_decides_a_plan_or_lifts_the_wish_for_one(engine: Engine) -> None:
    ticket_id, run = plan_of(engine)
    agent = Actor(ActorKind.RUN, run.agent, run.id, ticket_id)
    for actor in (agent, Actor(ActorKind.ORCHESTRATOR, "luci"), Actor(ActorKind.SERVICE, "ci")):
        with writing(engine) as session:
            ticket = get_ticket(session, ticket_id)
            with pytest.raises(Forbidden, match="Only a person"):
                plans.approve_plan(session, ticket, ApprovePlan(version=1), actor)
            with pytest.raises(Forbidden, match="Only a person"):
                plans.return_plan(session, ticket, ReturnPlan(version=1, comment="x"), actor)
            with pytest.raises(Forbidden, match="Only a person"):
                plans.edit_plan(session, ticket, EditPlan(version=1, body="x"), actor)
            with pytest.raises(Forbidden):
                transitions.create_ticket(session, NewTicket(title="x", planning=Planning.NONE), actor)
            with pytest.raises(Forbidden):
                change = EditTicket(version=ticket.version, planning=Planning.NONE)
                editing.edit_ticket(session, ticket, change, actor)
    with reading(engine) as session:
        assert session.scalars(select(RunRequest.state)).all() == [RequestState.PENDING]


def test_a_decision_waits_for_the_end_of_a_run_that_no_longer_takes_it(engine: Engine) -> None:
    ticket_id, run = plan_of(engine)
    with writing(engine) as session:
        session.execute(update(Run).where(Run.id == run.id).values(stop_code="timeout"))
    with pytest.raises(ConflictError, match="does not wait with this plan now"), writing(engine) as session:
        plans.approve_plan(session, get_ticket(session, ticket_id), ApprovePlan(version=1), ALICE)
    assert list_versions(engine, ticket_id)[0][2] is PlanState.PROPOSED


@pytest.mark.parametrize(
    ("wish", "profile", "plans_first"), [(None, True, True), ("none", True, False), (None, False, False)]
)
def test_a_ticket_overrides_what_its_profile_says(
    engine: Engine, wish: str | None, profile: bool, plans_first: bool
) -> None:
    ticket_id = make(engine, assigned_to="claude", planning=wish)
    with writing(engine) as session:
        session.execute(update(Profile).values(plan_first=profile))
    assert claimed(engine, ticket_id).plans is plans_first


@pytest.mark.both_databases
def test_a_checklist_and_a_confirmed_model_are_facts_of_the_run(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude")
    run = claimed(engine, ticket_id)
    send(engine, run, 1, "checklist", items=[{"text": "One", "state": "pending"}])
    send(engine, run, 2, "checklist", items=[{"text": "One", "state": "done"}])
    send(engine, run, 3, "session", model="first-model", conversation_id="c-1")
    with writing(engine) as session:
        model_change.order_model(session, get_run(session, run.id), ChangeModel(model="other-model"), ALICE)
        order = heartbeat.record_heartbeat(session, run.id, RunHeartbeat(state="running"))["model"]
    assert order["model"] == "other-model"
    send(engine, run, 4, "model", uuid="another order", model="x", ok=True)
    with reading(engine) as session:
        assert get_run(session, run.id).model == "first-model"
    send(engine, run, 5, "model", uuid=order["uuid"], model="other-model", ok=True)
    with reading(engine) as session:
        row = get_run(session, run.id)
        assert (row.model, row.model_order, row.checklist) == ("other-model", None, [{"text": "One", "state": "done"}])
        assert session.get_one(Ticket, ticket_id).status is TicketStatus.IN_PROGRESS


@pytest.mark.parametrize(
    ("program", "mode", "can_change"),
    [
        ("claude", RunMode.HEADLESS, True),
        ("claude", RunMode.TUI, True),
        ("codex", RunMode.HEADLESS, True),
        ("codex", RunMode.TUI, False),
        ("claude", RunMode.EXTERNAL, False),
    ],
)
def test_a_screen_takes_another_model_where_its_program_has_a_command_for_it(
    program: str, mode: RunMode, can_change: bool
) -> None:
    obstacle = model_change.find_obstacle(Run(program=program, mode=mode, state=RunState.RUNNING))
    assert (obstacle is None) is can_change, obstacle


def test_a_program_that_cannot_change_its_model_says_so(engine: Engine) -> None:
    run = claimed(engine, make(engine))
    with (
        pytest.raises(ConflictError, match="Script does not change its model during a run"),
        writing(engine) as session,
    ):
        model_change.order_model(session, get_run(session, run.id), ChangeModel(model="other-model"), ALICE)
