"""Work outside Mission Control: mirrored by a service, never started or stopped, and missed when it falls silent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import ActorKind, Agent, AgentKind, Run, RunState, TicketComment, TicketEvent, TicketStatus, now
from tickets.board import columns, lanes, overview, ticket_header
from tickets.board.columns import Filters, Viewer
from tickets.dispatch import policy
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import transitions
from tickets.runs import external, heartbeat, ingest, reports, runtime
from tickets.runs.external import ExternalRun
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, Invalid
from tickets.shared.inputs import NewTicket

from .test_spine import ALICE, make

SERVICE = Actor(ActorKind.SERVICE, "ci")


def open_run(engine: Engine, ticket_id: int, **fields: Any) -> Run:
    with writing(engine) as session:
        return external.open_run(
            session, ticket_id, ExternalRun.model_validate({"agent": "builder", **fields}), SERVICE
        )[0]


def expire(engine: Engine, run: Run) -> None:
    with writing(engine) as session:
        session.execute(update(Run).where(Run.id == run.id).values(silent_after=now() - timedelta(seconds=1)))


def list_comments(engine: Engine, ticket_id: int) -> list[str]:
    with reading(engine) as session:
        return list(session.scalars(select(TicketComment.body).where(TicketComment.ticket_id == ticket_id)))


@pytest.mark.both_databases
def test_a_silent_external_run_needs_a_person_until_it_is_heard_again(engine: Engine) -> None:
    """Regression: one without a heartbeat for half an hour was said to be heard."""
    ticket_id = make(engine)
    run = open_run(engine, ticket_id, silence_seconds=1800)
    assert run.silent_after is not None
    assert timedelta(minutes=29) < run.silent_after - now() <= timedelta(minutes=30)
    for sign in ("heartbeat", "event", ""):
        expire(engine, run)
        with reading(engine) as session:
            [card] = lanes.load_lane(session, "needs_you", Filters(), Viewer(ALICE, DispatchLimits())).cards
            assert card.needs_you and card.reason and card.reason.text.startswith("Runs outside Mission Control")
            assert lanes.load_lane(session, "stuck", Filters(), Viewer(ALICE, DispatchLimits())).cards == []
            assert [item["line"] for item in overview.list_needs(session)] == [overview.OUTSIDE_TEXT]
            assert overview.count_needs(session) == 1
            assert session.scalars(select(Run.id).where(runtime.IS_SILENT)).all() == [run.id]
            run = lookup.get_run(session, run.id)
            header = ticket_header.build_header(session, lookup.get_ticket(session, ticket_id), run, run)
            assert (header.runtime, header.next_action) == ("unknown", "Check why it is silent")
            assert header.outside and header.outside.endswith("ago; the limit is 30 min.")
        with writing(engine) as session:
            if sign == "heartbeat":
                heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="running"))
            else:
                event = {"event_type": "external.step", "payload": {}}
                ingest.ingest_events(session, run.id, [ingest.WorkerEvent.model_validate(event)])
        with reading(engine) as session:
            card = columns.load_column(session, "in_progress", Filters(), Viewer(ALICE, DispatchLimits())).cards[0]
            assert not card.needs_you and overview.count_needs(session) == 0
            assert runtime.get_state(lookup.get_run(session, run.id)) == "running"


def test_an_external_run_is_opened_by_its_service_under_no_persons_name(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        session.add(Agent(name="eve", kind=AgentKind.HUMAN, aliases=["evelyn"]))
    for name in ("eve", "Evelyn"):
        with pytest.raises(Invalid, match="eve is a person of the team"):
            open_run(engine, ticket_id, agent=name)
    open_run(engine, ticket_id)
    with reading(engine) as session:
        moves = select(TicketEvent.actor).where(TicketEvent.event_type == "ticket_moved")
        assert session.scalars(moves).all() == ["ci"]
    assert list_comments(engine, ticket_id) == [
        "builder works on this outside Mission Control, on elsewhere, as ci reports."
    ]


def test_an_external_run_uses_no_capacity(engine: Engine) -> None:
    run = open_run(engine, make(engine), agent="script")
    with reading(engine) as session:
        shared_state = policy.load_shared(session, DispatchLimits(total=1))
        assert (shared_state.load, shared_state.working, shared_state.free) == ({}, {}, 1)
    assert run.state is RunState.RUNNING


@pytest.mark.parametrize("verdict", ["stopped", "done"])
def test_a_parked_external_run_leaves_a_comment_and_a_record(engine: Engine, verdict: Any) -> None:
    """Regression: neither was left, whatever the service reported afterwards."""
    ticket_id = make(engine)
    run = open_run(engine, ticket_id)
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "manual"})
    assert "alice: park. The work of builder runs outside Mission Control" in list_comments(engine, ticket_id)[-1]
    with writing(engine) as session:
        reports.apply_report(session, run.id, reports.RunReport(verdict=verdict), reports.RetryPolicy())
        assert lookup.get_ticket(session, ticket_id).status is TicketStatus.WAITING
    assert "**RUNTIME TERMINAL STATE**" in list_comments(engine, ticket_id)[-1]


def test_a_holder_may_be_given_at_creation_but_not_by_a_run(engine: Engine) -> None:
    body = NewTicket(title="Held", assigned_to="script", campaign_owner="operator")
    ticket_id = make(engine)
    open_run(engine, ticket_id)
    with writing(engine) as session:
        tickets = transitions.create_ticket(session, body, SERVICE)
        gates = {gate.name: gate.detail for gate in policy.check_ticket(session, tickets, None, DispatchLimits())}
        assert gates["controller"] == "It is on hold by operator."
        with pytest.raises(Forbidden, match="campaign_owner"):
            transitions.create_ticket(session, body, Actor(ActorKind.RUN, "builder", 1, ticket_id))


def test_a_runs_ticket_is_a_child_of_its_own_ticket_only(engine: Engine) -> None:
    other, ticket_id = make(engine), make(engine)
    open_run(engine, ticket_id)
    worker = Actor(ActorKind.RUN, "builder", 1, ticket_id)
    with writing(engine) as session:
        for parent in (None, f"MC-{ticket_id}"):
            transitions.create_ticket(session, NewTicket(title="Below", child_of=parent), worker)
        with pytest.raises(Forbidden, match="its own ticket only"):
            transitions.create_ticket(session, NewTicket(title="Below", child_of=f"MC-{other}"), worker)
