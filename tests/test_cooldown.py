"""What an agent's service refuses one ticket it would refuse all: the agent rests, and its other tickets wait."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import Agent, TicketEvent, TicketStatus, now
from settings import Settings
from tickets.dispatch import dispatch_plan, policy
from tickets.lifecycle.transitions import transition
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.team import agents
from tickets.team.agents import EditAgent

from .test_spine import ALICE, make

PATIENT = reports.RetryPolicy(backoff_seconds=300)


def fail(engine: Engine, failure: str, retry_at: datetime | None = None) -> None:
    """A first ticket's run fails in this way."""
    failure_fields = {"class": failure, "message": "the service said no.", "retry_at": retry_at}
    with writing(engine) as session:
        run = claims.claim_ticket(session, lookup.get_ticket(session, "MC-1").id, "here").run
        reports.apply_report(
            session, run.id, reports.RunReport.model_validate({"verdict": "failed", "failure": failure_fields}), PATIENT
        )


def agent(engine: Engine) -> Agent:
    with reading(engine) as session:
        return session.get_one(Agent, "script")


def claimable(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return [ticket.identifier for ticket in dispatch_plan.plan_dispatch(session, policy.DispatchLimits()).claim]


@pytest.mark.both_databases
def test_a_used_up_allowance_is_found_out_by_one_ticket_and_not_by_all(engine: Engine) -> None:
    """Every ticket of the agent was started in turn, refused, and parked."""
    for _ in range(3):
        make(engine)
    reset = now() + timedelta(hours=2)
    fail(engine, "usage_limit", reset)

    assert claimable(engine) == []
    assert agent(engine).cooldown_until == reset
    with reading(engine) as session:
        gates = policy.check_ticket(session, lookup.get_ticket(session, "MC-2"), None, policy.DispatchLimits())
        event = session.scalars(select(TicketEvent).where(TicketEvent.event_type == "agent_cooled")).one()
    [closed_gate] = [gate for gate in gates if not gate.ok]
    assert closed_gate.name == "agent_cooldown" and closed_gate.detail.endswith("usage limit: the service said no.")
    assert event.payload_json["agent"] == "script"

    with writing(engine) as session:
        session.execute(update(Agent).values(cooldown_until=now() - timedelta(seconds=1)))
    assert claimable(engine) == ["MC-2", "MC-3"]


@pytest.mark.parametrize(("failure", "stays"), [("usage_limit", False), ("rate_limit", False), ("crash", True)])
def test_a_ticket_that_went_on_no_longer_names_the_limit(engine: Engine, failure: str, stays: bool) -> None:
    make(engine)
    fail(engine, failure)
    with writing(engine) as session:
        if lookup.get_ticket(session, "MC-1").status is TicketStatus.WAITING:
            transition(session, 1, "wake", ALICE)
        assert failure in str(lookup.get_ticket(session, "MC-1").failure_reason)
        claims.claim_ticket(session, 1, "here")
        assert bool(lookup.get_ticket(session, "MC-1").failure_reason) is stays


@pytest.mark.both_databases
def test_a_reset_that_no_allowance_has_does_not_rest_an_agent_for_years(engine: Engine) -> None:
    make(engine)
    fail(engine, "usage_limit", now() + timedelta(days=9000))

    until = agent(engine).cooldown_until
    assert until is not None and until < now() + timedelta(days=9)


@pytest.mark.parametrize(
    ("failure", "rests"),
    [("authentication", True), ("rate_limit", False), ("server_error", False), ("network", False), ("crash", False)],
)
def test_an_agent_rests_only_for_what_means_its_account(engine: Engine, failure: str, rests: bool) -> None:
    for _ in range(2):
        make(engine)
    fail(engine, failure)

    assert claimable(engine) == ([] if rests else ["MC-2"])
    assert (agent(engine).cooldown_until is not None) is rests


@pytest.mark.both_databases
def test_a_shorter_rest_does_not_end_a_longer_one_but_a_person_does(engine: Engine) -> None:
    make(engine)
    long = now() + timedelta(hours=3)
    with writing(engine) as session:
        agents.start_cooldown(session, "script", long, "limit reached", ALICE)
        agents.start_cooldown(session, "script", now() + timedelta(minutes=1), "too many requests", ALICE)
        agents.start_cooldown(session, "nobody", long, "limit reached", ALICE)
    assert (agent(engine).cooldown_until, agent(engine).cooldown_reason) == (long, "limit reached")

    with writing(engine) as session:
        agents.edit_agent(session, "script", EditAgent(cooldown_until=None), ALICE)
        assert lookup.get_ticket(session, 1).status is TicketStatus.TODO
    assert claimable(engine) == ["MC-1"]


@pytest.mark.parametrize(
    ("hours", "moment", "is_open"),
    [
        ("22:00-07:00", "2026-03-28T21:30:00Z", False),  # 22:30 in Berlin
        ("22:00-07:00", "2026-03-29T04:30:00Z", False),  # 06:30, an hour after the clocks went forward
        ("22:00-07:00", "2026-03-29T05:00:00Z", True),
        ("09:00-17:00", "2026-03-30T06:59:00Z", True),
        ("09:00-17:00", "2026-03-30T07:00:00Z", False),
        (None, "2026-03-30T07:00:00Z", True),
    ],
)
def test_nothing_starts_during_the_quiet_hours(
    engine: Engine, tmp_path: Path, hours: str | None, moment: str, is_open: bool
) -> None:
    ticket_id = make(engine, assigned_to="claude")
    limits = policy.DispatchLimits.from_settings(Settings(home=tmp_path, timezone="Europe/Berlin", quiet_hours=hours))
    with reading(engine) as session:
        shared_state = policy.load_shared(session, limits)
        shared_state.moment = datetime.fromisoformat(moment)
        [gate_input] = policy.load_tickets(session, [lookup.get_ticket(session, ticket_id)])
        gate = next(gate for gate in policy.check_gates(gate_input, shared_state) if gate.name == "quiet_hours")
    assert gate.ok is is_open
