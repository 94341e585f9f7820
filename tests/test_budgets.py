"""Budgets: every path is counted, what is passed is stopped and parked, and nothing parked comes back before its wake."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from database import reading, writing
from models import Profile, Run, RunState, Ticket, TicketStatus, now
from settings import Budget
from tickets.dispatch import budgets, dispatch_plan, policy
from tickets.dispatch.budgets import Budgets, BudgetScope, BudgetTotals
from tickets.lifecycle import transitions
from tickets.runs import claims, external, heartbeat, ingest, reports
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_run, get_ticket
from tickets.workflow import wake_conditions

ALICE = Actor.human("alice")
UTC_ZONE = ZoneInfo("UTC")
STAMP = "2026-01-01T00:00:00Z"


def limits(**facts: Any) -> Budgets:
    return Budgets(Budget(**facts), UTC_ZONE)


def make(engine: Engine, **facts: Any) -> int:
    body = NewTicket.model_validate({"title": "Write a line", "assigned_to": "claude", **facts})
    with writing(engine) as session:
        return transitions.create_ticket(session, body, ALICE).id


def claim(engine: Engine, ticket_id: int) -> int:
    with writing(engine) as session:
        return claims.claim_ticket(session, ticket_id, "here").run.id


def tell(engine: Engine, run_id: int, allowed: Budgets, *kinds: str, **usage: Any) -> ingest.IngestResult:
    """The run says what it has used, and then `kinds` in the same batch."""
    with writing(engine) as session:
        first = get_run(session, run_id).last_run_seq + 1
        events = [("agent.usage", usage), *((kind, {"ok": True, "text": ""}) for kind in kinds)]
        batch = [
            ingest.WorkerEvent.model_validate({"run_seq": seq, "ts": STAMP, "event_type": kind, "payload": payload})
            for seq, (kind, payload) in enumerate(events, start=first)
        ]
        return ingest.ingest_events(session, run_id, batch, allowed)


def beat(engine: Engine, run_id: int, allowed: Budgets, state: str = "running") -> dict[str, Any]:
    with writing(engine) as session:
        return heartbeat.record_heartbeat(
            session,
            run_id,
            heartbeat.RunHeartbeat.model_validate({"state": state}),
            8,
            policy.DispatchLimits(budgets=allowed),
        )


def report(engine: Engine, run_id: int, verdict: str, **facts: Any) -> reports.Receipt:
    with writing(engine) as session:
        return reports.apply_report(
            session, run_id, reports.RunReport.model_validate({"verdict": verdict, **facts}), reports.RetryPolicy()
        )


def load_ticket(engine: Engine, ticket_id: int) -> Ticket:
    with reading(engine) as session:
        return get_ticket(session, ticket_id)


def the_run(engine: Engine, run_id: int) -> Run:
    with reading(engine) as session:
        return get_run(session, run_id)


def gate(engine: Engine, ticket_id: int, allowed: Budgets) -> policy.GateResult:
    with reading(engine) as session:
        verdicts = policy.check_ticket(
            session, get_ticket(session, ticket_id), None, policy.DispatchLimits(budgets=allowed)
        )
    return next(verdict for verdict in verdicts if verdict.name == "budget")


# --------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("name", "limit", "usage"),
    [
        ("tokens", 100, {"input_tokens": 60, "output_tokens": 30, "cache_write_tokens": 11}),
        ("cost_usd", 0.5, {"cost_usd": 0.51}),
        ("turns", 3, {"turns": 4}),
    ],
)
@pytest.mark.parametrize("scope", ["run", "ticket", "day"])
def test_a_run_that_passes_a_limit_is_stopped_and_its_ticket_parked(
    engine: Engine, scope: str, name: str, limit: float, usage: dict[str, float]
) -> None:
    allowed = limits(**{f"{scope}_{name}": limit})
    ticket_id = make(engine)
    run_id = claim(engine, ticket_id)
    tell(engine, run_id, allowed, **usage)

    ticket, run = load_ticket(engine, ticket_id), the_run(engine, run_id)
    assert (ticket.status, run.state, run.stop_code) == (TicketStatus.WAITING, RunState.STOPPING, "budget")
    assert run.stop_reason and budgets.SCOPE_LABELS[BudgetScope(scope)] in run.stop_reason
    assert ticket.wake and ticket.wake["kind"] == ("time" if scope == "day" else "manual")
    if scope == "day":
        assert ticket.wake_at == budgets.find_day(run.started, UTC_ZONE)[1]


def test_a_run_at_its_limit_goes_on_and_the_next_one_does_not_start(engine: Engine) -> None:
    allowed = limits(ticket_tokens=100)
    ticket_id = make(engine)
    run_id = claim(engine, ticket_id)
    tell(engine, run_id, allowed, input_tokens=100)
    assert the_run(engine, run_id).stop_code is None
    assert gate(engine, ticket_id, allowed) == policy.GateResult("budget", False, "100 of 100 tokens on this ticket.")


@pytest.mark.both_databases
def test_minutes_are_counted_by_the_heartbeat(engine: Engine) -> None:
    allowed = limits(run_minutes=30)
    ticket_id = make(engine)
    run_id = claim(engine, ticket_id)
    assert beat(engine, run_id, allowed)["stop"] is None
    with writing(engine) as session:
        session.execute(update(Run).where(Run.id == run_id).values(started=now() - timedelta(minutes=31)))

    stop = beat(engine, run_id, allowed)["stop"]

    assert stop["code"] == "budget"
    assert stop["reason"] == "Over budget: 31 of 30 minutes in this run."
    assert load_ticket(engine, ticket_id).status is TicketStatus.WAITING


@pytest.mark.parametrize("state", ["idle", "stopping"])
def test_a_run_whose_turn_is_over_is_left_to_its_verdict(engine: Engine, state: str) -> None:
    allowed = limits(ticket_tokens=100)
    ticket_id = make(engine)
    run_id = claim(engine, ticket_id)
    tell(engine, run_id, allowed, "agent.result", input_tokens=500)
    assert beat(engine, run_id, allowed, state)["stop"] is None

    assert report(engine, run_id, "done", summary="Done.").accepted
    assert load_ticket(engine, ticket_id).status is TicketStatus.IN_REVIEW


def test_an_agent_that_is_told_to_go_on_after_its_turn_is_stopped(engine: Engine) -> None:
    allowed = limits(ticket_tokens=100)
    run_id = claim(engine, make(engine))
    tell(engine, run_id, allowed, "agent.result", input_tokens=500)
    assert beat(engine, run_id, allowed, "running")["stop"]["code"] == "budget"


@pytest.mark.both_databases
def test_a_lasting_limit_is_named_before_that_of_the_day(engine: Engine) -> None:
    ticket_id = make(engine)
    run_id = claim(engine, ticket_id)
    tell(engine, run_id, limits(day_tokens=10, ticket_tokens=10), input_tokens=11)
    assert (load_ticket(engine, ticket_id).wake or {})["kind"] == "manual"


@pytest.mark.both_databases
def test_a_limit_of_a_profile_binds_its_own_runs_alone(engine: Engine) -> None:
    with writing(engine) as session:
        session.execute(update(Profile).where(Profile.name == "codex").values(limits={"day_tokens": 100}))
    others, first, second = make(engine), make(engine, assigned_to="codex"), make(engine, assigned_to="codex")
    tell(engine, claim(engine, others), budgets.NO_LIMITS, input_tokens=500)
    assert gate(engine, first, budgets.NO_LIMITS).ok

    tell(engine, claim(engine, first), budgets.NO_LIMITS, input_tokens=150)

    assert load_ticket(engine, first).status is TicketStatus.WAITING
    assert gate(engine, second, budgets.NO_LIMITS).detail.startswith("150 of 100 tokens today with profile codex; ")
    assert load_ticket(engine, others).status is TicketStatus.IN_PROGRESS


@pytest.mark.both_databases
def test_runs_planned_in_one_pass_count_against_the_day(engine: Engine) -> None:
    for _ in range(4):
        make(engine, assigned_to="script")
    with writing(engine) as session:
        session.execute(update(Ticket).values(priority=1))
        allowed = policy.DispatchLimits(total=9, budgets=limits(day_runs=1))
        plan = dispatch_plan.plan_dispatch(session, allowed)
    assert len(plan.claim) == 1
    assert {verdict.name for _, verdict in plan.kept} == {"budget"}


# ------------------------------------------------------------------------------------------------------ what is counted


def spend_failed(engine: Engine, ticket_id: int) -> None:
    report(engine, claim(engine, ticket_id), "failed", summary="No.", usage={"input_tokens": 10, "cost_usd": 0.25})


def spend_lost(engine: Engine, ticket_id: int) -> None:
    run_id = claim(engine, ticket_id)
    tell(engine, run_id, budgets.NO_LIMITS, input_tokens=10, cost_usd=0.25)
    with writing(engine) as session:
        reports.mark_lost(session, run_id, "It is gone.", reports.RetryPolicy())


def spend_refused(engine: Engine, ticket_id: int) -> None:
    """A verdict that came too late is not applied, but its money is gone."""
    run_id = claim(engine, ticket_id)
    with writing(engine) as session:
        reports.mark_lost(session, run_id, "It is gone.", reports.RetryPolicy())
    assert not report(engine, run_id, "done", usage={"input_tokens": 10, "cost_usd": 0.25}).accepted


def spend_late(engine: Engine, ticket_id: int) -> None:
    """Events of an ended run are kept apart, but what they say was spent is counted."""
    run_id = claim(engine, ticket_id)
    with writing(engine) as session:
        reports.mark_lost(session, run_id, "It is gone.", reports.RetryPolicy())
    assert tell(engine, run_id, budgets.NO_LIMITS, input_tokens=10, cost_usd=0.25).refused


def spend_outside(engine: Engine, ticket_id: int) -> None:
    with writing(engine) as session:
        run, _ = external.open_run(session, ticket_id, external.ExternalRun(agent="elsewhere"), ALICE)
    tell(engine, run.id, budgets.NO_LIMITS, input_tokens=10, cost_usd=0.25)


@pytest.mark.both_databases
@pytest.mark.parametrize("spend", [spend_failed, spend_lost, spend_refused, spend_late, spend_outside])
def test_every_path_is_counted(engine: Engine, spend: Any) -> None:
    ticket_id = make(engine)
    spend(engine, ticket_id)
    with reading(engine) as session:
        today = budgets.sum_ledger(budgets.load_spending_today(session, UTC_ZONE))
        ticket = budgets.sum_ledger(budgets.load_ticket_spending(session, [ticket_id])[ticket_id])
    for usage in (today, ticket):
        assert (usage.runs, usage.tokens, usage.cost_usd) == (1, 10, 0.25)


@pytest.mark.both_databases
def test_totals_that_come_late_take_nothing_back(engine: Engine) -> None:
    run_id = claim(engine, make(engine))
    tell(engine, run_id, budgets.NO_LIMITS, input_tokens=100, cost_usd=1.0, turns=2)
    tell(engine, run_id, budgets.NO_LIMITS, input_tokens=40)
    tell(engine, run_id, budgets.NO_LIMITS, input_tokens="many")
    run = the_run(engine, run_id)
    assert (run.input_tokens, run.cost_usd, run.turns) == (100, 1.0, 2)


@pytest.mark.both_databases
def test_exact_totals_correct_an_estimate_but_late_ones_do_not(engine: Engine) -> None:
    run_id = claim(engine, make(engine))
    tell(engine, run_id, budgets.NO_LIMITS, input_tokens=100, cost_usd=1.0, exact=False)
    tell(engine, run_id, budgets.NO_LIMITS, input_tokens=90, cost_usd=0.8, exact=True)
    assert (the_run(engine, run_id).input_tokens, the_run(engine, run_id).cost_usd) == (90, 0.8)
    report(engine, run_id, "failed", usage={"input_tokens": 40, "cost_usd": 0.1, "exact": True})
    tell(engine, run_id, budgets.NO_LIMITS, input_tokens=30, exact=True)
    assert (the_run(engine, run_id).input_tokens, the_run(engine, run_id).cost_usd) == (90, 0.8)


@pytest.mark.both_databases
def test_a_ledger_adds_up_runs_of_several_profiles(engine: Engine) -> None:
    ticket_id = make(engine)
    spend_failed(engine, ticket_id)
    with writing(engine) as session:
        session.execute(update(Ticket).values(assigned_to="codex", not_before=None))
    tell(engine, claim(engine, ticket_id), budgets.NO_LIMITS, output_tokens=7, turns=3)
    with reading(engine) as session:
        ledger = budgets.load_ticket_spending(session, [ticket_id])[ticket_id]
    assert set(ledger) == {"claude", "codex"}
    both = budgets.sum_ledger(ledger)
    assert (both.runs, both.tokens, both.cost_usd, both.turns) == (2, 17, 0.25, 3)
    assert both.minutes < 1


# ----------------------------------------------------------------------------------------------------------------- days


@pytest.mark.parametrize(
    ("zone", "moment", "start", "end"),
    [
        ("UTC", "2026-03-01T12:00Z", "2026-03-01T00:00Z", "2026-03-02T00:00Z"),
        ("Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),  # 23 hours
        ("Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),  # 25 hours
        ("Africa/Cairo", "2026-04-24T12:00Z", "2026-04-23T22:00Z", "2026-04-24T21:00Z"),  # midnight is skipped
        ("America/Havana", "2026-11-01T12:00Z", "2026-11-01T04:00Z", "2026-11-02T05:00Z"),  # midnight comes twice
        ("Asia/Beirut", "2026-10-24T20:30Z", "2026-10-23T21:00Z", "2026-10-24T22:00Z"),  # 23:00 comes twice
    ],
)
def test_a_day_begins_at_the_first_moment_of_its_date(zone: str, moment: str, start: str, end: str) -> None:
    expected = datetime.fromisoformat(start), datetime.fromisoformat(end)
    assert budgets.find_day(datetime.fromisoformat(moment), ZoneInfo(zone)) == expected
    assert budgets.find_day(expected[0], ZoneInfo(zone)) == expected
    assert budgets.find_day(expected[1] - timedelta(microseconds=1), ZoneInfo(zone)) == expected


@pytest.mark.both_databases
def test_a_run_counts_on_the_day_it_began(engine: Engine) -> None:
    allowed = limits(day_tokens=100)
    first, second = make(engine), make(engine)
    run_id = claim(engine, first)
    start, _ = budgets.find_day(now(), UTC_ZONE)
    with writing(engine) as session:
        session.execute(update(Run).where(Run.id == run_id).values(started=start - timedelta(minutes=1)))
    tell(engine, run_id, allowed, input_tokens=500)

    assert gate(engine, second, allowed).ok, "it spent yesterday's budget, not today's"
    assert load_ticket(engine, first).wake_at == start
    with reading(engine) as session:
        assert [ticket.id for ticket in wake_conditions.list_due(session)] == [first], "so it may go on today"


@pytest.mark.both_databases
def test_a_ticket_parked_for_its_day_wakes_when_the_next_one_begins(engine: Engine) -> None:
    ticket_id = make(engine)
    tell(engine, claim(engine, ticket_id), limits(day_cost_usd=1), cost_usd=2)
    tomorrow = budgets.find_day(now(), UTC_ZONE)[1]
    with reading(engine) as session:
        assert wake_conditions.list_due(session, tomorrow - timedelta(seconds=1)) == []
        assert [ticket.id for ticket in wake_conditions.list_due(session, tomorrow)] == [ticket_id]


def test_spent_is_a_sum() -> None:
    assert BudgetTotals(1, 2, 0.5, 3, 4.0) + BudgetTotals(runs=1) == BudgetTotals(2, 2, 0.5, 3, 4.0)


# ------------------------------------------------------------------------------------------------------------- property


class Spending:
    """Any order of claims, usage, beats, ends and a person's moves, under one limit; nobody wakes a ticket."""

    LIMIT, STEP = 100, 40

    def __init__(self, engine: Engine, scope: str, seed: int) -> None:
        self.engine = engine
        self.scope = scope
        self.allowed = limits(**{f"{scope}_tokens": self.LIMIT})
        self.tickets = [make(engine) for _ in range(3)]
        self.used: dict[int, int] = {}
        self.chance = random.Random(seed)

    def step(self) -> None:
        with reading(self.engine) as session:
            live = claims.list_live(session)
        if not live or self.chance.random() < 0.4:
            self.chance.choice([self.dispatch, self.person])()
        else:
            self.chance.choice([self.use, self.use, self.use, self.beat, self.end])(self.chance.choice(live))

    def dispatch(self) -> None:
        """As pickup does: the gates and the claim in one transaction."""
        with writing(self.engine) as session:
            session.execute(update(Ticket).values(not_before=None))
            ticket = get_ticket(session, self.chance.choice(self.tickets))
            world = policy.load_shared(session, policy.DispatchLimits(total=9, attempts=99, budgets=self.allowed))
            world.load.clear()
            if policy.find_closed_gate(policy.load_tickets(session, [ticket])[0], world) is None:
                assert self.scope == "run" or all(
                    tokens < self.LIMIT for tokens, _ in self.list_usage(session, [ticket.id])
                )
                self.used[claims.claim_ticket(session, ticket.id, "here").run.id] = 0

    def use(self, run: Run) -> None:
        if run.stop_code:
            return  # it has been told, and its agent does nothing more
        self.used[run.id] += self.chance.randint(1, self.STEP)
        kinds = ["agent.result"] if self.chance.random() < 0.3 else []
        tell(self.engine, run.id, self.allowed, *kinds, input_tokens=self.used[run.id])
        if kinds and self.chance.random() < 0.5:
            self.end(run)
        elif kinds:
            beat(self.engine, run.id, self.allowed, "running")

    def beat(self, run: Run) -> None:
        beat(self.engine, run.id, self.allowed, self.chance.choice(["running", "idle", "waiting"]))

    def end(self, run: Run) -> None:
        verdict = self.chance.choice(["done", "failed", "stopped", "timed_out", "lost", "question"])
        report(self.engine, run.id, verdict, summary=f"{verdict} {run.id}")

    def person(self) -> None:
        """Whatever is put before a person is sent back to work."""
        moves: dict[TicketStatus, tuple[str, dict[str, Any]]] = {
            TicketStatus.IN_REVIEW: ("request_changes", {"body": "Again."}),
            TicketStatus.NEEDS_INPUT: ("answer", {"body": "Yes."}),
            TicketStatus.BLOCKED: ("unblock", {}),
        }
        with writing(self.engine) as session:
            for ticket in (get_ticket(session, ticket_id) for ticket_id in self.tickets):
                if ticket.status in moves:
                    move, facts = moves[ticket.status]
                    transitions.transition(session, ticket.id, move, ALICE, **facts)

    def check(self) -> None:
        """Beyond a limit there is at most what each run in flight used in the step that passed it; what is parked stays."""
        with reading(self.engine) as session:
            for tokens, in_flight in self.list_usage(session, self.tickets):
                assert tokens < self.LIMIT + self.STEP * in_flight
            for ticket in (get_ticket(session, ticket_id) for ticket_id in self.tickets):
                stopped_runs = [run for run in claims.list_runs(session, ticket.id) if run.stop_code == "budget"]
                assert not stopped_runs or ticket.status is TicketStatus.WAITING, (
                    "nobody has woken it, and midnight is far"
                )

    def list_usage(self, session: Session, tickets: list[int]) -> list[tuple[int, int]]:
        if self.scope == "day":
            return [(budgets.sum_ledger(budgets.load_spending_today(session, UTC_ZONE)).tokens, len(self.tickets))]
        if self.scope == "run":
            return [(tokens, 1) for tokens in self.used.values()]
        return [
            (budgets.sum_ledger(ledger).tokens, 1) for ledger in budgets.load_ticket_spending(session, tickets).values()
        ]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("scope", ["run", "ticket", "day"])
def test_whatever_the_order_spending_is_bounded_and_parked_tickets_stay_parked(
    engine: Engine, scope: str, seed: int
) -> None:
    spending = Spending(engine, scope, seed)
    for _ in range(50):
        spending.step()
        spending.check()


def test_a_moment_has_a_day_everywhere() -> None:
    moment = datetime(2026, 6, 1, 12, tzinfo=UTC)
    start, end = budgets.find_day(moment, ZoneInfo("Pacific/Auckland"))
    assert start <= moment < end
