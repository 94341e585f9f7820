"""Plan of a dispatch pass: the tickets to claim, in order, and the closed gate of each other ticket."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, exists, false, or_, select, true, update
from sqlalchemy.orm import Session

from database import fetch_rows
from models import (
    TERMINAL,
    Agent,
    RelationKind,
    Run,
    RunState,
    Ticket,
    TicketEvent,
    TicketRelationship,
    TicketStatus,
    ago,
)
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY
from tickets.shared.paging import QUEUE
from tickets.shared.ticket_row import TicketRow

from . import policy
from .policy import DispatchLimits, GateResult, SharedState

PICKUP = Actor.system("pickup")
IGNORED_EVENTS = ("run_opened", "run_state_changed", "comment_added", "message_queued", "write_quarantined")
PAGE_SIZE = 200
MAX_TICKETS_PER_PASS = 1000
HEAD_SIZE = 30
"""Number of tickets at the head of the queue that are examined for what starts next."""


@dataclass(slots=True)
class DispatchPlan:
    """The tickets to claim now, in order, and the first closed gate of each other ticket examined."""

    claim: list[Ticket] = field(default_factory=list)
    kept: list[tuple[Ticket, GateResult]] = field(default_factory=list)


def plan_dispatch(session: Session, limits: DispatchLimits, *, resumed_only: bool = False) -> DispatchPlan:
    """Read the queue in its order (`paging.QUEUE`) until capacity is used up, at most 1,000 tickets per pass."""
    shared_state = policy.load_shared(session, limits)
    dispatch_plan = DispatchPlan()
    if shared_state.paused or not shared_state.free:
        return dispatch_plan
    _take_ready(session, shared_state, dispatch_plan, resumed_only)
    _collect_unready(session, shared_state, dispatch_plan, resumed_only)
    return dispatch_plan


def _filter_queue(resumed_only: bool) -> list[object]:
    runnable = select(Agent.name).where(Agent.runnable == true(), Agent.profile.is_not(None))
    conditions: list[object] = [
        Ticket.status == TicketStatus.TODO,
        or_(Ticket.archived == false(), Ticket.assigned_to == CANARY),
        Ticket.assigned_to.in_(runnable),
    ]
    return [*conditions, Ticket.resume == true()] if resumed_only else conditions


def _filter_unready() -> object:
    """Return the condition for tickets held by time, a dependency or a controller.

    SQL filters them, since many may precede the ready ones.
    """
    blocker = Ticket.__table__.alias("blocker")
    dependency = exists().where(
        TicketRelationship.kind == RelationKind.BLOCKS,
        TicketRelationship.other_id == Ticket.id,
        TicketRelationship.ticket_id == blocker.c.id,
        blocker.c.status.not_in(TERMINAL),
    )
    later = and_(Ticket.not_before.is_not(None), Ticket.not_before > ago())
    return or_(later, Ticket.campaign_owner.is_not(None), dependency)


def _take_ready(session: Session, shared_state: SharedState, dispatch_plan: DispatchPlan, resumed_only: bool) -> None:
    ready = select(Ticket).where(*_filter_queue(resumed_only), ~_filter_unready()).order_by(*QUEUE.by())  # type: ignore[arg-type,operator]
    looked_at: list[int] = []
    while len(looked_at) < MAX_TICKETS_PER_PASS:
        page = list(session.scalars(ready.where(*_exclude_busy(shared_state, looked_at)).limit(PAGE_SIZE)))
        looked_at += [ticket.id for ticket in page]
        for ticket, gate_input in zip(page, policy.load_tickets(session, page), strict=True):
            closed_gate = policy.find_closed_gate(gate_input, shared_state)
            if closed_gate is not None:
                dispatch_plan.kept.append((ticket, closed_gate))
                continue
            dispatch_plan.claim.append(ticket)
            shared_state.count_claim(ticket)
        if not shared_state.free or len(page) < PAGE_SIZE:
            return


def _exclude_busy(shared_state: SharedState, looked_at: list[int]) -> list[ColumnElement[bool]]:
    """Exclude busy agents and projects after the first page, as their long queues could hide all others."""
    if not looked_at:
        return []
    free_project = or_(Ticket.project_id.is_(None), Ticket.project_id.not_in(shared_state.busy_projects))
    return [Ticket.id.not_in(looked_at), Ticket.assigned_to.not_in(shared_state.busy_agents), free_project]


def _collect_unready(
    session: Session, shared_state: SharedState, dispatch_plan: DispatchPlan, resumed_only: bool
) -> None:
    query = select(Ticket).where(*_filter_queue(resumed_only), _filter_unready()).order_by(*QUEUE.by()).limit(PAGE_SIZE)  # type: ignore[arg-type]
    page = list(session.scalars(query))
    for ticket, gate_input in zip(page, policy.load_tickets(session, page), strict=True):
        closed_gate = policy.find_closed_gate(gate_input, shared_state)
        if closed_gate is not None:
            dispatch_plan.kept.append((ticket, closed_gate))


HEAD = (
    select(*(getattr(Ticket, name) for name in TicketRow._fields))
    .where(*_filter_queue(False), ~_filter_unready())  # type: ignore[arg-type,operator]
    .where(~exists().where(Run.ticket_id == Ticket.id, Run.state != RunState.ENDED))
    .order_by(*QUEUE.by())
    .limit(HEAD_SIZE)
)


def load_head(session: Session) -> list[TicketRow]:
    """Load the first tickets of the queue that neither a run nor time, a dependency or a controller keeps from starting."""
    return [TicketRow._make(row) for row in fetch_rows(session, HEAD)]


def check_for_work(session: Session, cursor: int) -> tuple[int, bool]:
    """Return the newest event id, and whether an event after `cursor` may have made a ticket runnable or a run unwanted.

    Events of agent output and of dispatch itself do not count.
    """
    of_work = [TicketEvent.event_type.not_like(f"{prefix}.%") for prefix in ("agent", "run", "script", "external")]
    of_others = (TicketEvent.event_type.not_in(IGNORED_EVENTS), TicketEvent.actor != PICKUP.name)
    query = select(TicketEvent.id).where(TicketEvent.id > cursor, *of_work, *of_others).limit(1)
    return max(cursor, events.get_last_id(session)), session.scalar(query) is not None


def log_closed_gates(session: Session, skipped: list[tuple[Ticket, GateResult]]) -> int:
    """Append an event when a ticket's closed gate has changed, so that a policy skip is never reported as a lost claim."""
    changes = [(ticket, gate) for ticket, gate in skipped if ticket.last_gate != gate.name]
    for ticket, gate in changes:
        session.execute(update(Ticket).where(Ticket.id == ticket.id).values(last_gate=gate.name))
        events.append(session, ticket.id, "dispatch_held", {"gate": gate.name, "detail": gate.detail}, PICKUP)
    return len(changes)
