"""The lifecycle under any order of events: people, pickups, verdicts of present and past runs, landings, crashes."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select, update

from database import open_engine, reading, writing
from models import (
    Agent,
    Gate,
    LandingState,
    PhaseState,
    Quarantined,
    Run,
    RunState,
    Ticket,
    TicketComment,
    TicketEvent,
    TicketStatus,
    now,
)
from tickets.dispatch import dispatch_plan, policy
from tickets.lifecycle import transitions
from tickets.planning import phase_editing
from tickets.planning.phase_editing import ArrangePhases, BeginWorkflow, DecidePhase, WaivePhase
from tickets.runs import claims, landing_results, reports
from tickets.shared import lookup
from tickets.shared.errors import DomainError
from tickets.workflow import landing, ticket_phases
from tickets.workflow.landing import LandingPlan

from .test_landing import SEEN, project
from .test_lifecycle import FACTS
from .test_spine import ALICE, make

VERDICTS = [
    "done",
    "review",
    "changes",
    "question",
    "failed",
    "timed_out",
    "stopped",
    "usage_limited",
    "protocol_violation",
]
PATIENT = reports.RetryPolicy(limit=3, backoff_seconds=0)
HUMAN_MOVES = [
    "park",
    "wake",
    "block",
    "unblock",
    "answer",
    "approve",
    "request_changes",
    "send_back",
    "close",
    "cancel",
    "reopen",
    "release",
]


class Lifecycle(RuleBasedStateMachine):
    """Three tickets, one of them to be merged, and everything that may happen to them; the store is a copy of the
    migrated template."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mc-machine-"))
        shutil.copy(self.template, self.folder / "mc.db")
        self.engine = open_engine(f"sqlite:///{self.folder / 'mc.db'}")
        with writing(self.engine) as session:
            project(session, "merge")
        self.tickets = [make(self.engine), make(self.engine), make(self.engine, project="web", gate="none")]
        self.accepted: set[int] = set()
        self.plans: dict[int, LandingPlan] = {}
        self.landed: set[int] = set()

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.folder)

    def _runs(self) -> list[Run]:
        with reading(self.engine) as session:
            return list(session.scalars(select(Run).order_by(Run.id)))

    @rule(index=st.integers(0, 2), move=st.sampled_from(HUMAN_MOVES))
    def a_person_moves(self, index: int, move: str) -> None:
        try:
            with writing(self.engine) as session:
                transitions.transition(session, self.tickets[index], move, ALICE, **FACTS.get(move, {}))
        except DomainError:
            pass

    @rule(
        index=st.integers(0, 2),
        names=st.permutations(ticket_phases.STANDARD_PHASES),
        gates=st.tuples(*[st.sampled_from(Gate)] * 3),
    )
    def a_person_begins_a_workflow(self, index: int, names: list[str], gates: tuple[Gate, ...]) -> None:
        agents = ["script", "claude", None]
        phases = [{"name": name, "agent": agents[at], "gate": gates[at]} for at, name in enumerate(names)]
        self._plan(phase_editing.begin_workflow, index, BeginWorkflow.model_validate({"phases": phases}))

    @rule(index=st.integers(0, 2), name=st.sampled_from(ticket_phases.STANDARD_PHASES))
    def a_person_waives_a_phase(self, index: int, name: str) -> None:
        self._plan(phase_editing.waive_phase, index, WaivePhase(phase=name, reason="It does not apply."))

    @rule(index=st.integers(0, 2), name=st.sampled_from(ticket_phases.STANDARD_PHASES))
    def a_person_plans_what_follows(self, index: int, name: str) -> None:
        phase = {"name": name, "agent": "codex", "gate": "none", "choices": ["go", "stop"]}
        self._plan(phase_editing.arrange_phases, index, ArrangePhases.model_validate({"phases": [phase]}))

    @rule(index=st.integers(0, 2))
    def a_person_decides(self, index: int) -> None:
        self._plan(phase_editing.decide_phase, index, DecidePhase(choice="go"))

    def _plan(self, act: Any, index: int, body: Any) -> None:
        try:
            with writing(self.engine) as session:
                act(session, lookup.get_ticket(session, self.tickets[index]), body, ALICE)
        except DomainError:
            pass

    @rule()
    def pickup_passes(self) -> None:
        with writing(self.engine) as session:
            session.execute(update(Agent).values(cooldown_until=None))  # its time is over
        with reading(self.engine) as session:
            tickets = dispatch_plan.plan_dispatch(session, policy.DispatchLimits()).claim
        for ticket in tickets:
            try:
                with writing(self.engine) as session:
                    run = claims.claim_ticket(session, ticket.id, "here").run
                    claims.record_workspace(session, run.id, repository="/srv/web", branch="mc/MC-1-write-a-line")
            except DomainError:
                pass

    @rule(pick=st.integers(0, 50), verdict=st.sampled_from(VERDICTS))
    def any_run_reports(self, pick: int, verdict: str) -> None:
        runs = self._runs()
        if not runs:
            return
        run = runs[pick % len(runs)]
        before = self._ticket(run.ticket_id)
        body = reports.RunReport(verdict=verdict, summary=f"{verdict} {pick}", observations=SEEN)
        with writing(self.engine) as session:
            receipt = reports.apply_report(session, run.id, body, PATIENT)
        after = self._ticket(run.ticket_id)
        if receipt.accepted:
            assert run.id not in self.accepted, "a run reports once"
            self.accepted.add(run.id)
        else:
            assert (after.status, after.version) == (before.status, before.version), "a refused report moves nothing"
            with reading(self.engine) as session:
                query = select(func.count()).select_from(Quarantined).where(Quarantined.run_id == run.id)
                assert session.scalar(query), "a refused report is kept"

    def _ticket(self, ticket_id: int) -> Ticket:
        with reading(self.engine) as session:
            return session.get_one(Ticket, ticket_id)

    @rule(pick=st.integers(0, 50))
    def a_wrapper_is_lost(self, pick: int) -> None:
        runs = self._runs()
        if runs:
            with writing(self.engine) as session:
                reports.mark_lost(session, runs[pick % len(runs)].id, "killed", PATIENT)

    @rule(pick=st.integers(0, 50), came=st.sampled_from(["succeed", "fail", "conflicts"]))
    def a_door_ends_any_landing(self, pick: int, came: str) -> None:
        """The one that the ticket waits for, or one that was dropped or ended before."""
        if not self.plans:
            return
        ticket_id, key = self.tickets[2], list(self.plans)[pick % len(self.plans)]
        before = self._ticket(ticket_id)
        arguments: dict[str, tuple[Any, ...]] = {
            "succeed": ("Merged.", {}),
            "fail": ("No.",),
            "conflicts": (["a.txt"],),
        }
        with writing(self.engine) as session:
            is_counted = getattr(landing_results, came)(session, ticket_id, self.plans[key], *arguments[came])
        after = self._ticket(ticket_id)
        assert is_counted == (before.landing is LandingState.PENDING and (before.landing_plan or {})["key"] == key)
        assert is_counted or (after.status, after.version) == (before.status, before.version)
        if is_counted and came == "succeed":
            assert after.status in (TicketStatus.DONE, TicketStatus.TODO) and key not in self.landed, "it lands once"
            self.landed.add(key)

    @invariant()
    def what_is_to_be_landed_is_in_review_and_nothing_else_is(self) -> None:
        for ticket_id in self.tickets:
            ticket = self._ticket(ticket_id)
            plan = landing.get_plan(ticket)
            assert (ticket.landing is not None) == (plan is not None)
            if plan is not None:
                assert ticket.status is TicketStatus.IN_REVIEW and ticket_id == self.tickets[2]
                assert (plan.reason is not None) == (ticket.landing is LandingState.FAILED)
                self.plans.setdefault(plan.key, plan)

    @invariant()
    def at_most_one_live_run_and_it_is_the_newest(self) -> None:
        for ticket_id in self.tickets:
            with reading(self.engine) as session:
                mine = list(session.scalars(select(Run).where(Run.ticket_id == ticket_id).order_by(Run.generation)))
            live = [run for run in mine if run.state is not RunState.ENDED]
            assert len(live) <= 1
            assert not live or live[0] is mine[-1]
            assert [run.generation for run in mine] == list(range(1, len(mine) + 1))

    @invariant()
    def in_progress_means_that_a_run_holds_it(self) -> None:
        for ticket_id in self.tickets:
            ticket = self._ticket(ticket_id)
            with reading(self.engine) as session:
                live = session.scalar(select(Run).where(Run.ticket_id == ticket_id, Run.state != RunState.ENDED))
            if ticket.status is TicketStatus.IN_PROGRESS:
                assert live is not None and live.stop_code is None
            elif live is not None:
                assert live.stop_code, "a run whose ticket left it is told to stop"

    @invariant()
    def what_is_said_of_a_state_is_there_only_in_it(self) -> None:
        for ticket_id in self.tickets:
            ticket = self._ticket(ticket_id)
            assert (ticket.wake is not None) == (ticket.status is TicketStatus.WAITING)
            assert (ticket.closed is not None) == (ticket.status in (TicketStatus.DONE, TicketStatus.CANCELLED))
            if ticket.status is TicketStatus.BLOCKED:
                assert ticket.block and ticket.block["next_action"] and ticket.block["owner"]

    @invariant()
    def an_open_ticket_with_phases_stands_in_exactly_one_of_them(self) -> None:
        for ticket_id in self.tickets:
            ticket = self._ticket(ticket_id)
            with reading(self.engine) as session:
                phases = ticket_phases.list_phases(session, ticket_id)
            current = [phase for phase in phases if phase.state is PhaseState.CURRENT]
            assert len({phase.name for phase in phases}) == len(phases)
            if phases and ticket.closed is None:
                assert [(phase.name, phase.gate) for phase in current] == [(ticket.phase, ticket.gate)]
                assert not [phase for phase in phases if phase.state is PhaseState.PENDING and phase.note]

    @invariant()
    def the_sequence_of_a_ticket_has_no_gap(self) -> None:
        with reading(self.engine) as session:
            for ticket_id in self.tickets:
                seqs = list(
                    session.scalars(
                        select(TicketEvent.seq).where(TicketEvent.ticket_id == ticket_id).order_by(TicketEvent.seq)
                    )
                )
                assert seqs == list(range(1, len(seqs) + 1))
                assert session.get_one(Ticket, ticket_id).event_seq == len(seqs)


def test_the_lifecycle_keeps_its_promises_in_any_order_of_events(template: Path) -> None:
    machine: Any = type("Machine", (Lifecycle,), {"template": template})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


@pytest.mark.parametrize("verdict", ["done", "review", "question"])
@pytest.mark.parametrize("state", ["waiting", "blocked", "cancelled", "done"])
def test_a_verdict_on_a_ticket_that_left_its_run_is_refused_and_kept(engine: Any, state: str, verdict: str) -> None:
    move = {"waiting": "park", "blocked": "block", "cancelled": "cancel", "done": "close"}[state]
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        transitions.transition(session, ticket_id, move, ALICE, **FACTS.get(move, {}))
    with writing(engine) as session:
        receipt = reports.apply_report(session, run.id, reports.RunReport(verdict=verdict, summary="Late."), PATIENT)
    assert not receipt.accepted
    with reading(engine) as session:
        assert session.get_one(Ticket, ticket_id).status == state
        assert session.get_one(Run, run.id).state is RunState.ENDED
        assert [row.kind for row in session.scalars(select(Quarantined))] == ["report"]


def test_the_verdict_of_an_earlier_run_does_not_end_the_one_at_work(engine: Any) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        earlier = claims.claim_ticket(session, ticket_id, "here").run
        reports.apply_report(session, earlier.id, reports.RunReport(verdict="failed", summary="No."), PATIENT)
        run = claims.claim_ticket(session, ticket_id, "here").run
    with writing(engine) as session:
        receipt = reports.apply_report(session, earlier.id, reports.RunReport(verdict="done", summary="Late."), PATIENT)
    assert not receipt.accepted and receipt.ticket.status is TicketStatus.IN_PROGRESS
    with reading(engine) as session:
        assert session.get_one(Run, run.id).state is not RunState.ENDED
        assert [row.run_id for row in session.scalars(select(Quarantined))] == [earlier.id]


@pytest.mark.both_databases
def test_retries_end_after_exactly_so_many_runs_with_the_record(engine: Any) -> None:
    ticket_id = make(engine)
    for attempt in range(3):
        with writing(engine) as session:
            run = claims.claim_ticket(session, ticket_id, "here").run
            report = reports.RunReport(verdict="failed", summary=f"reason {'abc'[attempt]}")
            receipt = reports.apply_report(session, run.id, report, PATIENT)
    assert receipt.ticket.status is TicketStatus.BLOCKED
    assert receipt.ticket.block is not None and receipt.ticket.block["reason"] == "exhausted"


def test_the_same_failure_twice_stops_the_loop_early(engine: Any) -> None:
    ticket_id = make(engine)
    for attempt in range(2):
        with writing(engine) as session:
            run = claims.claim_ticket(session, ticket_id, "here").run
            report = reports.RunReport(verdict="failed", summary=f"line {attempt + 12} is wrong")
            receipt = reports.apply_report(session, run.id, report, PATIENT)
    assert receipt.ticket.status is TicketStatus.BLOCKED
    assert receipt.ticket.block is not None and "same failure came twice" in receipt.ticket.block["next_action"]


def test_a_usage_limit_whose_reset_has_passed_is_not_tried_again_at_once(engine: Any) -> None:
    ticket_id = make(engine)
    failure = {"class": "usage_limit", "message": "limit reached", "retry_at": "2020-01-01T00:00:00Z"}
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        body = reports.RunReport.model_validate({"verdict": "usage_limited", "failure": failure})
        ticket = reports.apply_report(session, run.id, body, PATIENT).ticket
        assert ticket.wake_at is not None and ticket.wake_at > now() + timedelta(minutes=4)


@pytest.mark.both_databases
def test_a_usage_limit_parks_the_ticket_until_its_reset_and_resumes(engine: Any) -> None:
    ticket_id = make(engine)
    failure = {"class": "usage_limit", "message": "limit reached", "retry_at": "2100-01-01T00:00:00Z"}
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        body = reports.RunReport.model_validate({"verdict": "usage_limited", "failure": failure})
        ticket = reports.apply_report(session, run.id, body, PATIENT).ticket
    assert ticket.status is TicketStatus.WAITING and ticket.wake_at is not None and ticket.wake_at.year == 2100
    with writing(engine) as session:
        resumed = transitions.transition(session, ticket_id, "wake", ALICE)
        assert (resumed.status, resumed.resume, resumed.attempts) == (TicketStatus.TODO, True, 0)


def test_a_run_without_a_verdict_leaves_its_record_and_its_last_words(engine: Any) -> None:
    ticket_id = make(engine)
    body = reports.RunReport(
        verdict="failed", summary="No luck.", transcript_tail="last ``` words", terminal={"root_cause": "Bad luck."}
    )
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        reports.apply_report(session, run.id, body, PATIENT)
    with reading(engine) as session:
        record, sweep = session.scalars(
            select(TicketComment).where(TicketComment.author == "system").order_by(TicketComment.id)
        )
    assert record.body.startswith("**RUNTIME TERMINAL STATE**")
    assert record.data is not None and record.data["root_cause"] == "Bad luck."
    assert "2 attempts are left" in record.data["next_actions"][0]
    assert sweep.body.startswith("**Runtime transcript sweep**") and "````text\nlast ``` words\n````" in sweep.body


@pytest.mark.parametrize(
    ("move", "facts", "status", "cause"),
    [
        ("park", {"wake": {"kind": "manual"}}, "parked", "The ticket was parked (alice: park)."),
        ("cancel", {"note": "Not needed."}, "cancelled", "The ticket was cancelled (alice: cancel)."),
        ("close", {"note": "Done by hand."}, "closed", "The ticket was closed (alice: close)."),
        (
            "block",
            {"reason": "needs_human", "owner": "alice", "next_action": "Look."},
            "blocked",
            "The ticket was blocked (alice: block).",
        ),
    ],
)
def test_the_record_of_a_stopped_run_says_what_became_of_its_ticket(
    engine: Any, move: str, facts: dict[str, Any], status: str, cause: str
) -> None:
    """Regression: it said that the agent's program was killed from outside, though a person had parked the ticket."""
    ticket_id = make(engine)
    killed = {"status": "stopped", "summary": "It was killed.", "root_cause": "Killed from outside."}
    body = reports.RunReport.model_validate({"verdict": "stopped", "failure": {"class": "killed"}, "terminal": killed})
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        transitions.transition(session, ticket_id, move, ALICE, **facts)
        reports.apply_report(session, run.id, body, PATIENT)
    with reading(engine) as session:
        record = session.scalars(select(TicketComment).where(TicketComment.author == "system")).one()
    assert record.data is not None
    assert (record.data["status"], record.data["root_cause"]) == (status, cause)
    assert "illed" not in record.body
