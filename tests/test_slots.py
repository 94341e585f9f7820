"""A run that waits for a person gives its slot to others, and takes one again before its answer reaches the agent."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, update

from database import reading, writing
from models import Agent, Run
from tickets.board import status_reason, ticket_header
from tickets.conversation import requests
from tickets.conversation.requests import Reply
from tickets.dispatch import dispatch_plan
from tickets.dispatch.policy import DispatchLimits
from tickets.runs import heartbeat, ingest, reports
from tickets.runs.ingest import WorkerEvent
from tickets.shared.lookup import get_run, get_ticket
from tickets.team import agents

from .test_sessions import claimed
from .test_spine import ALICE, make

QUESTION = {"request": "r-1", "questions": [{"text": "Red or blue?", "choices": []}]}
ONE = DispatchLimits(total=1)


def ask(engine: Engine, run: Run, **question: Any) -> None:
    """The agent asks, and its wrapper says that it waits."""
    with writing(engine) as session:
        number = get_run(session, run.id).last_run_seq + 1
        event = {"run_seq": number, "event_type": "agent.question", "payload": QUESTION | question}
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(event)])


def beat(engine: Engine, run: Run, state: str = "waiting", limits: DispatchLimits = ONE) -> list[str]:
    """The requests whose answers this heartbeat brings."""
    body = heartbeat.RunHeartbeat.model_validate({"state": state})
    with writing(engine) as session:
        return [answer["request"] for answer in heartbeat.record_heartbeat(session, run.id, body, 8, limits)["answers"]]


def answer(engine: Engine, run: Run, request: str = "r-1") -> None:
    with writing(engine) as session:
        requests.answer_request(session, run.ticket_id, Reply(request=request), ALICE)


def end(engine: Engine, run: Run) -> None:
    with writing(engine) as session:
        reports.apply_report(session, run.id, reports.RunReport(verdict="done"), reports.RetryPolicy())


def claimable(engine: Engine) -> list[int]:
    with reading(engine) as session:
        return [ticket.id for ticket in dispatch_plan.plan_dispatch(session, ONE).claim]


def describe(engine: Engine, run: Run) -> tuple[str, str | None]:
    """What card and page say of a run's ticket."""
    with reading(engine) as session:
        ticket, live = get_ticket(session, run.ticket_id), get_run(session, run.id)
        reasons = status_reason.load_reasons(session, [ticket], {ticket.id: live}, DispatchLimits())
        return reasons[ticket.id].text, ticket_header.build_header(session, ticket, live, live).working


@pytest.fixture
def asking(engine: Engine) -> Run:
    """A run that waits, on a board where one run may be at work."""
    run = claimed(engine, make(engine, assigned_to="claude"))
    ask(engine, run)
    assert beat(engine, run) == []
    return run


@pytest.mark.both_databases
def test_another_ticket_starts_while_a_run_waits_and_its_answer_waits_for_the_slot(engine: Engine, asking: Run) -> None:
    other = make(engine, assigned_to="claude")
    assert claimable(engine) == [other]
    busy = claimed(engine, other)
    with writing(engine) as session:
        assert agents.count_live_runs(session) == {"claude": 1}

    answer(engine, asking)
    third = make(engine, assigned_to="claude")
    assert beat(engine, asking) == [], "the slot is taken"
    assert describe(engine, asking) == (
        "Answered. The agent continues as soon as a slot is free",
        "Answered. The agent continues as soon as a slot is free.",
    )
    end(engine, busy)
    assert claimable(engine) == [], "the answered run goes first"
    assert beat(engine, asking) == ["r-1"]
    assert beat(engine, asking) == ["r-1"], "it is repeated until the agent is at work"
    with reading(engine) as session:
        assert get_run(session, asking.id).slot_released is None
    assert claimable(engine) == []
    ask(engine, asking, request="r-2")
    beat(engine, asking)
    assert claimable(engine) == [third], "a further question gives the slot back again"


@pytest.mark.both_databases
def test_answers_reach_their_agents_in_the_order_in_which_they_came(engine: Engine, asking: Run) -> None:
    second = claimed(engine, make(engine, assigned_to="codex"))
    ask(engine, second)
    beat(engine, second)
    answer(engine, second)
    answer(engine, asking)
    assert beat(engine, asking) == [], "the other was answered before"
    assert beat(engine, second) == ["r-1"]
    assert beat(engine, asking) == []
    assert beat(engine, second, "idle") == ["r-1"]
    end(engine, second)
    assert beat(engine, asking) == ["r-1"]


def test_the_capacity_of_an_agent_holds_for_its_answers_too(engine: Engine, asking: Run) -> None:
    wide = DispatchLimits(total=8)
    with writing(engine) as session:
        session.execute(update(Agent).values(capacity=1))
    claimed(engine, make(engine, assigned_to="claude"))
    answer(engine, asking)
    assert beat(engine, asking, limits=wide) == []
    with writing(engine) as session:
        session.execute(update(Agent).values(capacity=2))
    assert beat(engine, asking, limits=wide) == ["r-1"]


def test_an_agent_that_goes_on_by_itself_counts_again_and_a_quick_answer_needs_no_slot(
    engine: Engine, asking: Run
) -> None:
    beat(engine, asking, "running")
    assert claimable(engine) == []
    ask(engine, asking, request="r-2")
    answer(engine, asking, "r-2")
    assert beat(engine, asking) == ["r-2"]
