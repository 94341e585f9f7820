"""One dispatch pass, the same whoever starts it: see the steps in `mc_pickup.py`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from models import TaskOutcome, Ticket, TicketStatus, reading, writing
from tickets.dispatch import dispatch, policy
from tickets.dispatch.policy import Verdict
from tickets.operations import incidents
from tickets.runs import external, runs
from tickets.runs.runs import Claim
from tickets.shared import events, lookup
from tickets.shared.errors import DomainError

from . import flight, reconcile, start, waking, workplaces, world
from .bench import Bench
from .recording import Done
from .world import Unobservable

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


def make_pass(bench: Bench, *, resumed_only: bool = False, probes: bool = True) -> Done:
    """Steps 1 to 5; a pass that finds another one at work is `skipped`, one that cannot see the world `failed`."""
    try:
        with flight.alone(bench, "pickup"):
            return _pass(bench, resumed_only, probes)
    except flight.Held as held:
        return Done(TaskOutcome.SKIPPED, {"held_by": str(held)}, again=True)
    except Unobservable as error:
        return _refuse(bench, error)


def _pass(bench: Bench, resumed_only: bool, probes: bool) -> Done:
    tally = Tally()
    settle(bench, tally)
    tally.woken = waking.wake_due(bench)
    _start_ready(bench, tally, resumed_only)
    if probes and (found := waking.wake_probed(bench)):  # last: commands may take their time
        tally.woken += found
        _start_ready(bench, tally, resumed_only)
    return Done(tally.outcome, tally.summary(), again=bool(tally.skipped[DYING]))


def _start_ready(bench: Bench, tally: Tally, resumed_only: bool) -> None:
    tally.skipped.clear()
    for ticket in _decide(bench, tally, resumed_only):
        _begin(bench, ticket, tally)


def settle(bench: Bench, tally: Tally) -> None:
    """Steps 2 and 3 without the wake conditions; the reaper does the same. Raises `Unobservable`."""
    shown = world.panes(bench)
    world.require_processes()
    with writing(bench.engine) as session:
        runs.stop_unanswered(session, bench.settings.limits.answer_seconds)
        external.let_go(session, 2 * bench.settings.limits.grace_seconds)
    tally.reconciled = reconcile.runs_here(bench, shown)
    tally.released = workplaces.release_spent(bench)


def preview(bench: Bench, *, resumed_only: bool = False) -> dict[str, Any]:
    """What a pass would decide now; changes nothing. Raises `Unobservable`."""
    world.panes(bench)
    world.require_processes()
    with reading(bench.engine) as session:
        plan = dispatch.plan(session, bench.limits, resumed_only=resumed_only)
        kept = {ticket.identifier: f"{gate.name}: {gate.detail}" for ticket, gate in plan.kept}
        return {"would_claim": [ticket.identifier for ticket in plan.claim], "kept": kept}


def _refuse(bench: Bench, error: Unobservable) -> Done:
    """Fail closed, loudly: without knowing what runs, nothing may be started."""
    with writing(bench.engine) as session:
        title = "Pickup cannot see what runs, so it starts nothing"
        incidents.raise_incident(session, UNOBSERVABLE, title, str(error), severity="critical", actor=dispatch.PICKUP)
        events.append(session, None, "dispatch_refused", {"reason": str(error)}, dispatch.PICKUP)
    return Done(TaskOutcome.FAILED, {"error": str(error)})


def _decide(bench: Bench, tally: Tally, resumed_only: bool) -> list[Ticket]:
    with reading(bench.engine) as session:
        plan = dispatch.plan(session, bench.limits, resumed_only=resumed_only)
    tally.skipped.update(gate.name for _, gate in plan.kept)
    changed = [(ticket, gate) for ticket, gate in plan.kept if ticket.last_gate != gate.name]
    for first in range(0, len(changed), LOGGED_AT_ONCE):
        with writing(bench.engine) as session:
            dispatch.log_kept(session, changed[first : first + LOGGED_AT_ONCE])
    held = {ticket.id: why for ticket in plan.claim if (why := _in_the_way(bench, ticket))}
    tally.skipped.update(held.values())
    return [ticket for ticket in plan.claim if ticket.id not in held]


def _in_the_way(bench: Bench, ticket: Ticket) -> str | None:
    """What keeps the ticket's next run from starting: its last one, of which something still lives on this machine."""
    with reading(bench.engine) as session:
        last = runs.latest(session, ticket.id)
    if last is None or last.host != bench.host or world.is_gone(bench, last.id):
        return None
    return DYING if reconcile.is_given_time(bench, last) else reconcile.undead(bench, last)


def _begin(bench: Bench, ticket: Ticket, tally: Tally) -> None:
    """Claim one ticket and start its run."""
    try:
        with writing(bench.engine, partial(runs.require_claimable, ticket_id=ticket.id)) as session:
            claim = claim_if_open(session, bench, ticket.id, tally)
    except DomainError as error:
        tally.lost += 1
        with writing(bench.engine) as session:
            events.append(session, ticket.id, "claim_lost", {"reason": error.message}, dispatch.PICKUP)
        return
    if claim is not None:
        begun = start.start(bench, claim)
        (tally.claimed if begun else tally.not_started).append(ticket.identifier)


def claim_if_open(session: Session, bench: Bench, ticket_id: int, tally: Tally) -> Claim | None:
    """Claim, unless a gate has closed since the plan was made. Raises `DomainError` when somebody else was faster."""
    ticket = lookup.get(session, ticket_id)
    closed = _first_closed(session, bench, ticket) if ticket.status is TicketStatus.TODO else None
    if closed is not None:
        tally.skipped[closed.name] += 1
        return None
    return runs.claim(session, ticket_id, bench.host)


def _first_closed(session: Session, bench: Bench, ticket: Ticket) -> Verdict | None:
    return policy.first_closed(policy.examine(session, [ticket])[0], policy.survey(session, bench.limits))
