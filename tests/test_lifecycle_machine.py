"""The lifecycle under any order of events: people, pickups, verdicts of present and past runs, landings, crashes."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select, update

from database import Session, open_engine, reading, writing
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
    TicketPhase,
    TicketStatus,
    now,
)
from protocol import StopCode
from tickets.conversation import messages
from tickets.dispatch import dispatch_plan, policy
from tickets.lifecycle import editing, transitions
from tickets.planning import phase_editing
from tickets.planning.phase_editing import ArrangePhases, BeginWorkflow, DecidePhase, WaivePhase
from tickets.runs import claims, external, landing_results, reports
from tickets.shared import lookup
from tickets.shared.errors import DomainError, StaleTicket
from tickets.shared.inputs import EditTicket
from tickets.workflow import landing, ticket_phases
from tickets.workflow.landing import LandingPlan

from .postgres import fresh_database
from .test_landing import SEEN, project, work
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


MAX_TICKETS = 5
SQLITE_EXAMPLES, POSTGRESQL_EXAMPLES = 20, 4
INDEXES = st.integers(0, MAX_TICKETS - 1)
LANDING_RESULTS: dict[str, Callable[[Session, int, LandingPlan], bool]] = {
    "success": lambda session, ticket_id, plan: landing_results.record_success(session, ticket_id, plan, "Merged.", {}),
    "failure": lambda session, ticket_id, plan: landing_results.record_failure(session, ticket_id, plan, "No."),
    "conflicts": lambda session, ticket_id, plan: landing_results.send_back_conflicts(session, ticket_id, plan, ["a"]),
}


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """All rows of one moment that the promises are about, by ticket."""

    tickets: list[Ticket]
    runs: dict[int, list[Run]]
    phases: dict[int, list[TicketPhase]]
    seqs: dict[int, list[int]]


def take_snapshot(session: Session) -> StoreSnapshot:
    runs: dict[int, list[Run]] = defaultdict(list)
    phases: dict[int, list[TicketPhase]] = defaultdict(list)
    seqs: dict[int, list[int]] = defaultdict(list)
    for run in session.scalars(select(Run).order_by(Run.generation)):
        runs[run.ticket_id].append(run)
    for phase in session.scalars(select(TicketPhase)):
        phases[phase.ticket_id].append(phase)
    for ticket_id, seq in session.execute(select(TicketEvent.ticket_id, TicketEvent.seq).order_by(TicketEvent.seq)):
        if ticket_id is not None and seq is not None:
            seqs[ticket_id].append(seq)
    return StoreSnapshot(list(session.scalars(select(Ticket))), runs, phases, seqs)


class Lifecycle(RuleBasedStateMachine):
    """Some tickets, one of them to be merged, and everything that may happen to them, in a store of their own."""

    open_url: Callable[[], AbstractContextManager[str]]

    def __init__(self) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.url = self.resources.enter_context(type(self).open_url())
        self.engine = open_engine(self.url)
        with writing(self.engine) as session:
            project(session, "merge")
        self.tickets = [make(self.engine), make(self.engine), make(self.engine, project="web", gate="none")]
        self.accepted: set[int] = set()
        self.plans: dict[int, LandingPlan] = {}
        self.landed: set[int] = set()

    def teardown(self) -> None:
        self.engine.dispose()
        self.resources.close()

    @initialize(approved=st.booleans())
    def the_third_ticket_may_be_approved(self, approved: bool) -> None:
        """Let half of the histories begin with a landing, which others seldom reach."""
        if approved:
            work(self.engine, self.tickets[2])
            self._move(2, "approve")

    def _pick(self, index: int) -> int:
        return self.tickets[index % len(self.tickets)]

    def _move(self, index: int, move: str) -> None:
        with suppress(DomainError), writing(self.engine) as session:
            transitions.transition(session, self._pick(index), move, ALICE, **FACTS.get(move, {}))

    def _runs(self) -> list[Run]:
        with reading(self.engine) as session:
            return list(session.scalars(select(Run).order_by(Run.id)))

    @rule(status=st.sampled_from(["inbox", "todo", "waiting"]), agent=st.sampled_from(["script", "claude", None]))
    def a_person_creates(self, status: str, agent: str | None) -> None:
        if len(self.tickets) < MAX_TICKETS:
            wake = {"wake": {"kind": "manual"}} if status == "waiting" else {}
            self.tickets.append(make(self.engine, status=status, assigned_to=agent, **wake))
            assert self._ticket(self.tickets[-1]).status == status

    @rule(
        index=INDEXES,
        change=st.sampled_from(
            [{"title": "Another"}, {"priority": "urgent"}, {"assigned_to": "codex"}, {"gate": "person"}]
        ),
        age=st.integers(0, 1),
    )
    def a_person_edits(self, index: int, change: dict[str, Any], age: int) -> None:
        before = self._ticket(self._pick(index))
        body = EditTicket.model_validate({"version": max(1, before.version - age), **change})
        try:
            with writing(self.engine) as session:
                editing.edit_ticket(session, lookup.get_ticket(session, before.id), body, ALICE)
            assert body.version == before.version, "an edit of an older version is refused"
        except StaleTicket:
            assert age, "an edit of the version that was read is not stale"
            assert self._ticket(before.id).version == before.version, "a refused edit changes nothing"
        except DomainError:
            pass
        assert self._ticket(before.id).status is before.status, "an edit is no move"

    @rule(index=INDEXES, move=st.sampled_from(HUMAN_MOVES))
    def a_person_moves(self, index: int, move: str) -> None:
        self._move(index, move)

    @rule(index=INDEXES)
    def a_person_writes_to_the_agent(self, index: int) -> None:
        with suppress(DomainError), writing(self.engine) as session:
            ticket = lookup.get_ticket(session, self._pick(index))
            messages.queue_message(session, ticket, messages.NewMessage(body="Look here."), ALICE)

    @rule()
    def the_board_is_started_again(self) -> None:
        self.engine.dispose()
        self.engine = open_engine(self.url)

    @rule()
    def the_reaper_passes(self) -> None:
        with writing(self.engine) as session:
            messages.expire_messages(session, 0)
            messages.retry_failed(session)
            reports.stop_unanswered(session, 0)
            external.end_unresponsive(session, 0)

    @rule(
        index=INDEXES,
        names=st.permutations(ticket_phases.STANDARD_PHASES),
        gates=st.tuples(*[st.sampled_from(Gate)] * 3),
    )
    def a_person_begins_a_workflow(self, index: int, names: list[str], gates: tuple[Gate, ...]) -> None:
        agents = ["script", "claude", None]
        phases = [{"name": name, "agent": agents[at], "gate": gates[at]} for at, name in enumerate(names)]
        self._plan(phase_editing.begin_workflow, index, BeginWorkflow.model_validate({"phases": phases}))

    @rule(index=INDEXES, name=st.sampled_from(ticket_phases.STANDARD_PHASES))
    def a_person_waives_a_phase(self, index: int, name: str) -> None:
        self._plan(phase_editing.waive_phase, index, WaivePhase(phase=name, reason="It does not apply."))

    @rule(index=INDEXES, name=st.sampled_from(ticket_phases.STANDARD_PHASES))
    def a_person_plans_what_follows(self, index: int, name: str) -> None:
        phase = {"name": name, "agent": "codex", "gate": "none", "choices": ["go", "stop"]}
        self._plan(phase_editing.arrange_phases, index, ArrangePhases.model_validate({"phases": [phase]}))

    @rule(index=INDEXES)
    def a_person_decides(self, index: int) -> None:
        self._plan(phase_editing.decide_phase, index, DecidePhase(choice="go"))

    def _plan(self, act: Any, index: int, body: Any) -> None:
        try:
            with writing(self.engine) as session:
                act(session, lookup.get_ticket(session, self._pick(index)), body, ALICE)
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

    @rule(pick=st.integers(0, 50), result=st.sampled_from(sorted(LANDING_RESULTS)))
    def a_landing_ends(self, pick: int, result: str) -> None:
        """The one that the ticket waits for, or one that was dropped or ended before."""
        if not self.plans:
            return
        ticket_id, key = self.tickets[2], list(self.plans)[pick % len(self.plans)]
        before = self._ticket(ticket_id)
        with writing(self.engine) as session:
            is_counted = LANDING_RESULTS[result](session, ticket_id, self.plans[key])
        after = self._ticket(ticket_id)
        assert is_counted == (before.landing is LandingState.PENDING and (before.landing_plan or {})["key"] == key)
        assert is_counted or (after.status, after.version) == (before.status, before.version)
        if is_counted and result == "success":
            assert after.status in (TicketStatus.DONE, TicketStatus.TODO) and key not in self.landed, "it lands once"
            self.landed.add(key)

    @invariant()
    def the_promises_hold(self) -> None:
        with reading(self.engine) as session:
            snapshot = take_snapshot(session)
        for ticket in snapshot.tickets:
            self._check_landing(ticket)
            check_runs(ticket, snapshot.runs[ticket.id])
            check_state(ticket)
            check_phases(ticket, snapshot.phases[ticket.id])
            seqs = snapshot.seqs[ticket.id]
            assert seqs == list(range(1, ticket.event_seq + 1)), "the events of a ticket have no gap"
        identifiers = {ticket.identifier for ticket in snapshot.tickets}
        assert len(identifiers) == len(snapshot.tickets) == len(self.tickets)

    def _check_landing(self, ticket: Ticket) -> None:
        """What is to be landed is in review, and nothing else is to be landed."""
        plan = landing.get_plan(ticket)
        assert (ticket.landing is not None) == (plan is not None)
        if plan is not None:
            assert ticket.status is TicketStatus.IN_REVIEW and ticket.id == self.tickets[2]
            assert (plan.reason is not None) == (ticket.landing is LandingState.FAILED)
            self.plans.setdefault(plan.key, plan)


def check_runs(ticket: Ticket, runs: list[Run]) -> None:
    """At most one run is live, and it is the newest; a ticket in progress has one that was not told to stop."""
    live = [run for run in runs if run.state is not RunState.ENDED]
    assert len(live) <= 1 and live == runs[len(runs) - len(live) :]
    assert [run.generation for run in runs] == list(range(1, len(runs) + 1))
    if ticket.status is TicketStatus.IN_PROGRESS:
        assert live and live[0].stop_code in (None, StopCode.UNANSWERED)
    elif live:
        assert live[0].stop_code, "a run whose ticket left it is told to stop"


def check_state(ticket: Ticket) -> None:
    """What belongs to a state is there only in it."""
    assert (ticket.wake is not None) == (ticket.status is TicketStatus.WAITING)
    assert (ticket.closed is not None) == (ticket.status in (TicketStatus.DONE, TicketStatus.CANCELLED))
    if ticket.status is TicketStatus.BLOCKED:
        assert ticket.block and ticket.block["next_action"] and ticket.block["owner"]


def check_phases(ticket: Ticket, phases: list[TicketPhase]) -> None:
    """An open ticket with phases stands in exactly one of them."""
    current = [phase for phase in phases if phase.state is PhaseState.CURRENT]
    assert len({phase.name for phase in phases}) == len(phases)
    if phases and ticket.closed is None:
        assert [(phase.name, phase.gate) for phase in current] == [(ticket.phase, ticket.gate)]
        assert not [phase for phase in phases if phase.state is PhaseState.PENDING and phase.note]


def run_machine(open_url: Callable[[], AbstractContextManager[str]], examples: int) -> None:
    machine: Any = type("Machine", (Lifecycle,), {"open_url": staticmethod(open_url)})
    options = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(machine, settings=options)


def test_the_lifecycle_keeps_its_promises_in_any_order_of_events(template: Path) -> None:
    @contextmanager
    def copy_template() -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="mc-machine-") as folder:
            shutil.copy(template, Path(folder, "mc.db"))
            yield f"sqlite:///{folder}/mc.db"

    run_machine(copy_template, SQLITE_EXAMPLES)


@pytest.mark.postgres
def test_the_lifecycle_keeps_its_promises_on_postgresql_too() -> None:
    run_machine(fresh_database, POSTGRESQL_EXAMPLES)


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
