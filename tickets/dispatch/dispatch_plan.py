"""The queue as the dispatcher sees it: what to claim next, in order, and which gate keeps the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, exists, false, or_, select, true, update
from sqlalchemy.orm import Session

from models import TERMINAL, Agent, RelationKind, Ticket, TicketEvent, TicketRelationship, TicketStatus, now
from tickets.shared import events
from tickets.shared.actors import Actor

from . import policy
from .policy import DispatchLimits, GateResult, SharedState

PICKUP = Actor.system("pickup")
QUIET = ("run_opened", "run_state_changed", "comment_added", "message_queued", "write_quarantined")
PAGE = 200
PASS_LIMIT = 1000


@dataclass(slots=True)
class Plan:
    """The tickets to claim now, in order, and the first closed gate of each other ticket that was looked at."""

    claim: list[Ticket] = field(default_factory=list)
    kept: list[tuple[Ticket, GateResult]] = field(default_factory=list)


def plan(session: Session, limits: DispatchLimits, *, resumed_only: bool = False) -> Plan:
    """Read the queue in order (resumed, priority, age) until capacity is used up; at most 1,000 tickets a pass."""
    world = policy.load_shared(session, limits)
    found = Plan()
    if world.paused or not world.free:
        return found
    _take_ready(session, world, found, resumed_only)
    _note_kept(session, world, found, resumed_only)
    return found


def _queue(resumed_only: bool) -> list[object]:
    runnable = select(Agent.name).where(Agent.runnable == true(), Agent.profile.is_not(None))
    conditions: list[object] = [
        Ticket.status == TicketStatus.TODO,
        Ticket.archived == false(),
        Ticket.assigned_to.in_(runnable),
    ]
    return [*conditions, Ticket.resume == true()] if resumed_only else conditions


def _held() -> object:
    """Tickets that time, a dependency or a controller keeps: many may stand before the ready ones, so SQL passes them over."""
    blocker = Ticket.__table__.alias("blocker")
    dependency = exists().where(
        TicketRelationship.kind == RelationKind.BLOCKS,
        TicketRelationship.other_id == Ticket.id,
        TicketRelationship.ticket_id == blocker.c.id,
        blocker.c.status.not_in(TERMINAL),
    )
    later = and_(Ticket.not_before.is_not(None), Ticket.not_before > now())
    return or_(later, Ticket.campaign_owner.is_not(None), dependency)


ORDER = (Ticket.resume.desc(), Ticket.priority.desc(), Ticket.id)


def _take_ready(session: Session, world: SharedState, found: Plan, resumed_only: bool) -> None:
    ready = select(Ticket).where(*_queue(resumed_only), ~_held()).order_by(*ORDER)  # type: ignore[arg-type,operator]
    looked_at: list[int] = []
    while len(looked_at) < PASS_LIMIT:
        page = list(session.scalars(ready.where(*_elsewhere(world, looked_at)).limit(PAGE)))
        looked_at += [ticket.id for ticket in page]
        for case in policy.load_tickets(session, page):
            closed = policy.first_closed(case, world)
            if closed is not None:
                found.kept.append((case.ticket, closed))
                continue
            found.claim.append(case.ticket)
            world.taken(case.ticket)
        if not world.free or len(page) < PAGE:
            return


def _elsewhere(world: SharedState, looked_at: list[int]) -> list[ColumnElement[bool]]:
    """After the first page: whoever is busy by now may have a queue so long that nobody else is ever come to."""
    if not looked_at:
        return []
    free_project = or_(Ticket.project_id.is_(None), Ticket.project_id.not_in(world.busy_projects))
    return [Ticket.id.not_in(looked_at), Ticket.assigned_to.not_in(world.busy_agents), free_project]


def _note_kept(session: Session, world: SharedState, found: Plan, resumed_only: bool) -> None:
    held = select(Ticket).where(*_queue(resumed_only), _held()).order_by(*ORDER).limit(PAGE)  # type: ignore[arg-type]
    for case in policy.load_tickets(session, session.scalars(held)):
        closed = policy.first_closed(case, world)
        if closed is not None:
            found.kept.append((case.ticket, closed))


def stirred(session: Session, cursor: int) -> tuple[int, bool]:
    """The newest event's id, and whether any after `cursor` could have made a ticket runnable or a run unwanted.

    What agents type and what a pass itself does cannot.
    """
    of_work = [TicketEvent.event_type.not_like(f"{room}.%") for room in ("agent", "run", "script", "external")]
    of_others = (TicketEvent.event_type.not_in(QUIET), TicketEvent.actor != PICKUP.name)
    telling = select(TicketEvent.id).where(TicketEvent.id > cursor, *of_work, *of_others).limit(1)
    return max(cursor, events.last_id(session)), session.scalar(telling) is not None


def log_kept(session: Session, kept: list[tuple[Ticket, GateResult]]) -> int:
    """Log which gate keeps a ticket, once per change: a policy skip is never reported as a lost claim."""
    changed = [(ticket, gate) for ticket, gate in kept if ticket.last_gate != gate.name]
    for ticket, gate in changed:
        session.execute(update(Ticket).where(Ticket.id == ticket.id).values(last_gate=gate.name))
        events.append(session, ticket.id, "dispatch_held", {"gate": gate.name, "detail": gate.detail}, PICKUP)
    return len(changed)
