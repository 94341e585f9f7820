"""The domain from one end to the other, without processes or a browser, on each database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, func, select, update

from database import open_engine, reading, writing
from models import Agent, Ticket, TicketStatus
from tickets.dispatch import dispatch_plan, policy
from tickets.lifecycle import transitions
from tickets.runs import claims, ingest, reports
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket

ALICE = Actor.human("alice")


def make(engine: Engine, **facts: object) -> int:
    body = NewTicket.model_validate({"title": "Write a line", "assigned_to": "script", **facts})
    with writing(engine) as session:
        return transitions.create_ticket(session, body, ALICE).id


@pytest.mark.both_databases
def test_a_ticket_is_planned_claimed_worked_and_reviewed(engine: Engine) -> None:
    ticket_id = make(engine)
    with reading(engine) as session:
        assert [ticket.id for ticket in dispatch_plan.plan_dispatch(session, policy.DispatchLimits()).claim] == [
            ticket_id
        ]
    with writing(engine) as session:
        claim = claims.claim_ticket(session, ticket_id, "here")
    event = {
        "run_seq": 1,
        "ts": "2026-01-01T00:00:00Z",
        "event_type": "agent.text",
        "payload": {"block": "b1", "text": "Hello"},
    }
    with writing(engine) as session:
        ingest_receipt = ingest.ingest_events(session, claim.run.id, [ingest.WorkerEvent.model_validate(event)])
    assert (ingest_receipt.accepted, ingest_receipt.last_run_seq) == (1, 1)
    with writing(engine) as session:
        receipt = reports.apply_report(
            session, claim.run.id, reports.RunReport(verdict="done", summary="Done."), reports.RetryPolicy()
        )
    assert receipt.accepted and receipt.ticket.status is TicketStatus.IN_REVIEW
    with writing(engine) as session:
        assert transitions.transition(session, ticket_id, "approve", ALICE).status is TicketStatus.DONE


@pytest.mark.both_databases
def test_tickets_that_are_created_at_once_have_identifiers_of_their_own(engine: Engine, url: str) -> None:
    def create_tickets(_: int) -> set[int]:
        own_engine = open_engine(url)
        try:
            return {make(own_engine) for _ in range(10)}
        finally:
            own_engine.dispose()

    with ThreadPoolExecutor(8) as creators:
        ticket_ids = set[int]().union(*creators.map(create_tickets, range(8)))
    with reading(engine) as session:
        identifiers = set(session.scalars(select(Ticket.identifier)))
    assert len(ticket_ids) == 80
    assert identifiers == {f"MC-{number}" for number in range(1, 81)}


@pytest.mark.both_databases
def test_what_is_read_together_is_of_one_moment(engine: Engine) -> None:
    make(engine)
    with reading(engine) as session:
        before = session.scalar(select(func.count()).select_from(Ticket))
        make(engine)
        assert session.scalar(select(func.count()).select_from(Ticket)) == before
    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(Ticket)) == (before or 0) + 1


@pytest.mark.both_databases
def test_an_unreadable_figure_does_not_cost_the_events_beside_it(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
    lines = [
        {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.usage", "payload": {"input_tokens": -5}},
        {"run_seq": 2, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.usage", "payload": {"input_tokens": 10**30}},
        {"run_seq": 3, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.text", "payload": {"text": "On."}},
    ]
    with writing(engine) as session:
        ingest_receipt = ingest.ingest_events(
            session, run.id, [ingest.WorkerEvent.model_validate(line) for line in lines]
        )
    assert (ingest_receipt.accepted, ingest_receipt.last_run_seq) == (3, 3)


@pytest.mark.both_databases
def test_a_long_queue_of_one_agent_does_not_keep_the_others_idle(engine: Engine) -> None:
    """Regression: a pass looked at the first thousand tickets only, and those of a busy agent filled them all."""
    with writing(engine) as session:
        body = NewTicket.model_validate({"title": "One of many", "assigned_to": "claude", "priority": "high"})
        for _ in range(dispatch_plan.MAX_TICKETS_PER_PASS + 1):
            transitions.create_ticket(session, body, ALICE)
        session.execute(update(Agent).values(capacity=1))
    mine = make(engine)
    with reading(engine) as session:
        claimed = dispatch_plan.plan_dispatch(session, policy.DispatchLimits()).claim
    assert [ticket.assigned_to for ticket in claimed] == ["claude", "script"]
    assert claimed[-1].id == mine


def test_the_dispatcher_and_the_page_give_the_same_reason_for_each_ticket(engine: Engine) -> None:
    first = make(engine)
    facts: tuple[dict[str, object], ...] = (
        {},
        {"not_before": "2999-01-01T00:00:00Z"},
        {"campaign_owner": "somebody"},
        {"relationships": [{"kind": "blocked_by", "ticket": f"MC-{first}"}]},
        {"priority": "urgent"},
        {"assigned_to": "claude"},
        {"status": "waiting", "wake": {"kind": "manual"}},
    )
    ticket_ids = [first, *(make(engine, **values) for values in facts)]
    limits = policy.DispatchLimits(total=99)
    with writing(engine) as session:
        session.execute(update(Agent).values(capacity=99))
    with reading(engine) as session:
        plan = dispatch_plan.plan_dispatch(session, limits)
        claimed_ids = {ticket.id for ticket in plan.claim}
        reasons = {ticket.id: gate.name for ticket, gate in plan.kept}
        for ticket_id in ticket_ids:
            gates = policy.check_ticket(session, session.get_one(Ticket, ticket_id), None, limits)
            closed_gates = [gate.name for gate in gates if not gate.ok]
            assert (ticket_id in claimed_ids) == (not closed_gates)
            assert reasons.get(ticket_id) in (None, *closed_gates[:1])
    assert (len(claimed_ids), len(reasons)) == (4, 3)


@pytest.mark.parametrize("at", ["0234-10-03T13:23:54Z", "9999-12-31T23:59:59-12:00", "2026-01-01T00:00:00"])
def test_a_moment_that_no_calendar_of_work_has_is_refused(at: str) -> None:
    with pytest.raises(ValidationError, match=r"must (lie between|carry a time zone)"):
        NewTicket.model_validate({"title": "Then", "not_before": at})
