"""One dispatch pass, the same whoever starts it (see the steps in `mc_pickup.py`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from database import reading, writing
from models import Outcome, TaskOutcome, Ticket, TicketStatus
from tickets.dispatch import dispatch_plan, policy
from tickets.dispatch.dispatch_plan import DispatchPlan
from tickets.dispatch.policy import GateResult
from tickets.operations import incidents
from tickets.runs import claims, external, reports
from tickets.runs.claims import RunClaim
from tickets.shared import events, lookup
from tickets.shared.errors import DomainError
from workers.host.tmux import Pane

from . import host_state, reconcile, repositories, single_flight, start_run, wake, workspaces
from .host_state import ObservationError
from .job_context import JobContext
from .task_recorder import JobResult

UNOBSERVABLE = f"{incidents.PICKUP_PREFIX}unobservable"
PREVIOUS_RUN = "previous_run"
"""The ticket's last run has reported, but its wrapper has not exited yet."""
OTHER_HOST = "other_host"
"""The ticket's branch is on another host that is at work, and its next run starts there."""
LOG_BATCH_SIZE = 50
"""The number of tickets with a changed gate per transaction, so that a long queue does not block other writers."""
WARNING_RESULTS = frozenset({"undead", "lost", "not_started", "unsettled"})
"""Results of runs that turn the outcome of a pass into a warning."""


@dataclass(slots=True)
class PassCounts:
    """The counts of a pass, with the identifiers of started tickets."""

    claimed: list[str] = field(default_factory=list)
    not_started: list[str] = field(default_factory=list)
    lost: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    reconciled: Counter[str] = field(default_factory=Counter)
    woken: int = 0
    released: int = 0

    def summary(self) -> dict[str, Any]:
        values: dict[str, Any] = {"claimed": self.claimed, "skipped": dict(self.skipped)}
        optional = {"not_started": self.not_started, "lost_claims": self.lost, "released": self.released}
        values |= {"reconciled": dict(self.reconciled), "woken": self.woken}
        return values | {name: value for name, value in optional.items() if value}

    @property
    def outcome(self) -> TaskOutcome:
        if self.not_started or WARNING_RESULTS & (self.reconciled.keys() | self.skipped.keys()):
            return TaskOutcome.WARNING
        return TaskOutcome.ACTED if self.claimed or self.reconciled or self.woken else TaskOutcome.NOOP


def make_pass(context: JobContext, *, resumed_only: bool = False, probes: bool = True) -> JobResult:
    """Make a pass (steps 1 to 5). `skipped` while another one runs, `failed` when the host cannot be observed."""
    try:
        with single_flight.hold_lease(context, "pickup"):
            return _run_steps(context, resumed_only, probes)
    except single_flight.AlreadyRunning as holder:
        return JobResult(TaskOutcome.SKIPPED, {"held_by": str(holder)}, again=True)
    except ObservationError as error:
        return _record_refusal(context, error)


def _run_steps(context: JobContext, resumed_only: bool, probes: bool) -> JobResult:
    counts = PassCounts()
    settle_runs(context, counts)
    counts.woken = wake.wake_due(context)
    _start_ready_tickets(context, counts, resumed_only)
    if probes and repositories.confirm_problems(context):  # after the starts, which git of another project may delay
        _start_ready_tickets(context, counts, resumed_only)
    if probes and (wake_count := wake.wake_by_probe(context)):  # last, because commands may take long
        counts.woken += wake_count
        _start_ready_tickets(context, counts, resumed_only)
    return JobResult(counts.outcome, counts.summary(), again=bool(counts.skipped[PREVIOUS_RUN]))


def _start_ready_tickets(context: JobContext, counts: PassCounts, resumed_only: bool) -> None:
    counts.skipped.clear()
    for ticket in _choose_tickets(context, counts, resumed_only):
        _start_ticket(context, ticket, counts)


def settle_runs(context: JobContext, counts: PassCounts) -> None:
    """Do steps 2 and 3 without the wake conditions, as the reaper does too. Raises `ObservationError`."""
    host_state.require_processes()
    panes = _observe_panes(context)
    with writing(context.engine) as session:
        reports.stop_unanswered(session, context.settings.limits.answer_seconds)
        external.end_unresponsive(session, 2 * context.settings.limits.grace_seconds)
    counts.reconciled = reconcile.reconcile_runs(context, panes)
    _remove_dead_panes(context, panes)
    _remove_dead_sockets(context)
    _remove_ended_tokens(context)
    counts.released = workspaces.release_ended_slots(context)


def _observe_panes(context: JobContext) -> list[Pane]:
    """List the panes. A tmux server of another version is ended once its runs have ended, so that a new one can start."""
    try:
        return host_state.list_panes(context)
    except host_state.OutdatedServer:
        reconcile.reconcile_runs(context, [])  # which needs panes only for a run without a heartbeat
        if reconcile.list_own_runs(context):
            raise
        context.tmux.end_outdated_server()
        return []


def _remove_dead_panes(context: JobContext, panes: list[Pane]) -> None:
    """Remove the dead panes of settled runs. That of a live run still shows why it is about to be settled."""
    if any(pane.dead for pane in panes):
        with reading(context.engine) as session:
            identifiers = claims.list_live_identifiers(session)
        host_state.remove_dead_panes(context, panes, {f"mc-{identifier}" for identifier in identifiers})


def _remove_dead_sockets(context: JobContext) -> None:
    if sockets := host_state.list_sockets(context):
        with reading(context.engine) as session:
            live_runs = {run.id for run in claims.list_live(session)}
        host_state.remove_dead_sockets(context, sockets, live_runs)


def _remove_ended_tokens(context: JobContext) -> None:
    """Remove the files of the board's tokens whose runs have ended, and the tokens with them."""
    folder = context.settings.board_tokens_dir
    if token_files := list(folder.iterdir()) if folder.is_dir() else []:
        with reading(context.engine) as session:
            live_runs = {str(run.id) for run in claims.list_live(session)}
        for file in token_files:
            if file.name not in live_runs:
                file.unlink(missing_ok=True)


def preview_pass(context: JobContext, *, resumed_only: bool = False) -> dict[str, Any]:
    """Return what a pass would decide now, without changing anything. Raises `ObservationError`."""
    host_state.list_panes(context)
    host_state.require_processes()
    with reading(context.engine) as session:
        plan = dispatch_plan.plan_dispatch(session, context.limits, resumed_only=resumed_only)
        reasons = {ticket.identifier: f"{gate.name}: {gate.detail}" for ticket, gate in plan.kept}
        return {"would_claim": [ticket.identifier for ticket in plan.claim], "kept": reasons}


def _record_refusal(context: JobContext, error: ObservationError) -> JobResult:
    """Fail closed with an incident: nothing may be started without knowing which runs are alive."""
    with writing(context.engine) as session:
        title = "Pickup cannot see what runs, so it starts nothing"
        incidents.raise_incident(
            session, UNOBSERVABLE, title, str(error), severity="critical", actor=dispatch_plan.PICKUP
        )
        events.append(session, None, "dispatch_refused", {"reason": str(error)}, dispatch_plan.PICKUP)
    return JobResult(TaskOutcome.FAILED, {"error": str(error)})


def _choose_tickets(context: JobContext, counts: PassCounts, resumed_only: bool) -> list[Ticket]:
    plan = _plan(context, resumed_only)
    if repositories.record_new_problems(context, {ticket.project_id for ticket in plan.claim}):
        plan = _plan(context, resumed_only)
    counts.skipped.update(gate.name for _, gate in plan.kept)
    changes = [(ticket, gate) for ticket, gate in plan.kept if ticket.last_gate != gate.name]
    for first in range(0, len(changes), LOG_BATCH_SIZE):
        with writing(context.engine) as session:
            dispatch_plan.log_closed_gates(session, changes[first : first + LOG_BATCH_SIZE])
    obstacles = {ticket.id: obstacle for ticket in plan.claim if (obstacle := _find_obstacle(context, ticket))}
    counts.skipped.update(obstacles.values())
    return [ticket for ticket in plan.claim if ticket.id not in obstacles]


def _plan(context: JobContext, resumed_only: bool) -> DispatchPlan:
    with reading(context.engine) as session:
        return dispatch_plan.plan_dispatch(session, context.limits, resumed_only=resumed_only)


def _find_obstacle(context: JobContext, ticket: Ticket) -> str | None:
    """Return the reason that the ticket's next run cannot start here.

    Its branch is on another host, or parts of its last run are still alive on this one.
    """
    with reading(context.engine) as session:
        last = claims.find_latest(session, ticket.id)
        if last is not None and last.host != context.host:
            has_branch_there = last.branch is not None and single_flight.is_at_work(session, last.host)
            return OTHER_HOST if has_branch_there and last.outcome is not Outcome.LOST else None
    if last is None or host_state.is_gone(context, last.id):
        return None
    return PREVIOUS_RUN if reconcile.is_ending(context, last) else reconcile.kill_leftovers(context, last)


def _start_ticket(context: JobContext, ticket: Ticket, counts: PassCounts) -> None:
    """Claim one ticket and start its run."""
    try:
        with writing(context.engine, partial(claims.require_claimable, ticket_id=ticket.id)) as session:
            claim = claim_if_open(session, context, ticket.id, counts)
    except DomainError as error:
        counts.lost += 1
        with writing(context.engine) as session:
            events.append(session, ticket.id, "claim_lost", {"reason": error.message}, dispatch_plan.PICKUP)
        return
    if claim is not None:
        is_started = start_run.start_claimed_run(context, claim)
        (counts.claimed if is_started else counts.not_started).append(ticket.identifier)


def claim_if_open(session: Session, context: JobContext, ticket_id: int, counts: PassCounts) -> RunClaim | None:
    """Claim, unless a gate has closed since the plan was made. `DomainError` when another process has claimed it."""
    ticket = lookup.get_ticket(session, ticket_id)
    closed_gate = _find_closed_gate(session, context, ticket) if ticket.status is TicketStatus.TODO else None
    if closed_gate is not None:
        counts.skipped[closed_gate.name] += 1
        return None
    return claims.claim_ticket(session, ticket_id, context.host)


def _find_closed_gate(session: Session, context: JobContext, ticket: Ticket) -> GateResult | None:
    return policy.find_closed_gate(
        policy.load_tickets(session, [ticket])[0], policy.load_shared(session, context.limits)
    )
