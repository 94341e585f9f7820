"""One dispatch pass, the same whoever starts it: see the steps in `mc_pickup.py`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from database import reading, writing
from models import TaskOutcome, Ticket, TicketStatus
from tickets.dispatch import dispatch_plan, policy
from tickets.dispatch.policy import GateResult
from tickets.operations import incidents
from tickets.runs import claims, external, reports
from tickets.runs.claims import RunClaim
from tickets.shared import events, lookup
from tickets.shared.errors import DomainError

from . import host_state, reconcile, single_flight, start_run, wake, workspaces
from .host_state import Unobservable
from .job_context import JobContext
from .task_recorder import Done

UNOBSERVABLE = "pickup:unobservable"
DYING = "previous_run"
"""A ticket's last run has reported, but its wrapper is not gone yet."""
LOGGED_AT_ONCE = 50
"""Tickets whose gate has changed; a long queue must not keep everybody else from writing."""
ALARMING = frozenset({"undead", "lost", "not_started", "unsettled"})
"""Ends of runs, and what is left of them, that make a pass a warning."""


@dataclass(slots=True)
class Tally:
    """What a pass did: identifiers of started tickets, counts of everything else."""

    claimed: list[str] = field(default_factory=list)
    not_started: list[str] = field(default_factory=list)
    lost: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    reconciled: Counter[str] = field(default_factory=Counter)
    woken: int = 0
    released: int = 0

    def summary(self) -> dict[str, Any]:
        counted: dict[str, Any] = {"claimed": self.claimed, "skipped": dict(self.skipped)}
        rare = {"not_started": self.not_started, "lost_claims": self.lost, "released": self.released}
        counted |= {"reconciled": dict(self.reconciled), "woken": self.woken}
        return counted | {name: value for name, value in rare.items() if value}

    @property
    def outcome(self) -> TaskOutcome:
        if self.not_started or ALARMING & (self.reconciled.keys() | self.skipped.keys()):
            return TaskOutcome.WARNING
        return TaskOutcome.ACTED if self.claimed or self.reconciled or self.woken else TaskOutcome.NOOP


def make_pass(bench: JobContext, *, resumed_only: bool = False, probes: bool = True) -> Done:
    """Steps 1 to 5; a pass that finds another one at work is `skipped`, one that cannot see the world `failed`."""
    try:
        with single_flight.alone(bench, "pickup"):
            return _pass(bench, resumed_only, probes)
    except single_flight.Held as held:
        return Done(TaskOutcome.SKIPPED, {"held_by": str(held)}, again=True)
    except Unobservable as error:
        return _refuse(bench, error)


def _pass(bench: JobContext, resumed_only: bool, probes: bool) -> Done:
    tally = Tally()
    settle(bench, tally)
    tally.woken = wake.wake_due(bench)
    _start_ready(bench, tally, resumed_only)
    if probes and (found := wake.wake_probed(bench)):  # last: commands may take their time
        tally.woken += found
        _start_ready(bench, tally, resumed_only)
    return Done(tally.outcome, tally.summary(), again=bool(tally.skipped[DYING]))


def _start_ready(bench: JobContext, tally: Tally, resumed_only: bool) -> None:
    tally.skipped.clear()
    for ticket in _decide(bench, tally, resumed_only):
        _begin(bench, ticket, tally)


def settle(bench: JobContext, tally: Tally) -> None:
    """Steps 2 and 3 without the wake conditions; the reaper does the same. Raises `Unobservable`."""
    shown = host_state.panes(bench)
    host_state.require_processes()
    with writing(bench.engine) as session:
        reports.stop_unanswered(session, bench.settings.limits.answer_seconds)
        external.let_go(session, 2 * bench.settings.limits.grace_seconds)
    tally.reconciled = reconcile.runs_here(bench, shown)
    tally.released = workspaces.release_spent(bench)


def preview(bench: JobContext, *, resumed_only: bool = False) -> dict[str, Any]:
    """What a pass would decide now; changes nothing. Raises `Unobservable`."""
    host_state.panes(bench)
    host_state.require_processes()
    with reading(bench.engine) as session:
        plan = dispatch_plan.plan(session, bench.limits, resumed_only=resumed_only)
        kept = {ticket.identifier: f"{gate.name}: {gate.detail}" for ticket, gate in plan.kept}
        return {"would_claim": [ticket.identifier for ticket in plan.claim], "kept": kept}


def _refuse(bench: JobContext, error: Unobservable) -> Done:
    """Fail closed, loudly: without knowing what runs, nothing may be started."""
    with writing(bench.engine) as session:
        title = "Pickup cannot see what runs, so it starts nothing"
        incidents.raise_incident(
            session, UNOBSERVABLE, title, str(error), severity="critical", actor=dispatch_plan.PICKUP
        )
        events.append(session, None, "dispatch_refused", {"reason": str(error)}, dispatch_plan.PICKUP)
    return Done(TaskOutcome.FAILED, {"error": str(error)})


def _decide(bench: JobContext, tally: Tally, resumed_only: bool) -> list[Ticket]:
    with reading(bench.engine) as session:
        plan = dispatch_plan.plan(session, bench.limits, resumed_only=resumed_only)
    tally.skipped.update(gate.name for _, gate in plan.kept)
    changed = [(ticket, gate) for ticket, gate in plan.kept if ticket.last_gate != gate.name]
    for first in range(0, len(changed), LOGGED_AT_ONCE):
        with writing(bench.engine) as session:
            dispatch_plan.log_kept(session, changed[first : first + LOGGED_AT_ONCE])
    held = {ticket.id: why for ticket in plan.claim if (why := _in_the_way(bench, ticket))}
    tally.skipped.update(held.values())
    return [ticket for ticket in plan.claim if ticket.id not in held]


def _in_the_way(bench: JobContext, ticket: Ticket) -> str | None:
    """What keeps the ticket's next run from starting: its last one, of which something still lives on this machine."""
    with reading(bench.engine) as session:
        last = claims.latest(session, ticket.id)
    if last is None or last.host != bench.host or host_state.is_gone(bench, last.id):
        return None
    return DYING if reconcile.is_given_time(bench, last) else reconcile.kill_leftovers(bench, last)


def _begin(bench: JobContext, ticket: Ticket, tally: Tally) -> None:
    """Claim one ticket and start its run."""
    try:
        with writing(bench.engine, partial(claims.require_claimable, ticket_id=ticket.id)) as session:
            claim = claim_if_open(session, bench, ticket.id, tally)
    except DomainError as error:
        tally.lost += 1
        with writing(bench.engine) as session:
            events.append(session, ticket.id, "claim_lost", {"reason": error.message}, dispatch_plan.PICKUP)
        return
    if claim is not None:
        begun = start_run.start(bench, claim)
        (tally.claimed if begun else tally.not_started).append(ticket.identifier)


def claim_if_open(session: Session, bench: JobContext, ticket_id: int, tally: Tally) -> RunClaim | None:
    """Claim, unless a gate has closed since the plan was made. Raises `DomainError` when somebody else was faster."""
    ticket = lookup.get(session, ticket_id)
    closed = _first_closed(session, bench, ticket) if ticket.status is TicketStatus.TODO else None
    if closed is not None:
        tally.skipped[closed.name] += 1
        return None
    return claims.claim(session, ticket_id, bench.host)


def _first_closed(session: Session, bench: JobContext, ticket: Ticket) -> GateResult | None:
    return policy.first_closed(policy.load_tickets(session, [ticket])[0], policy.load_shared(session, bench.limits))
