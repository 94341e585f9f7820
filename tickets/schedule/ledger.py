"""The ledger of tasks: for each slot when it was due, started and ended, and whether the task did its work, or why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, union_all, update
from sqlalchemy.orm import Session, aliased

from models import TERMINAL, MissReason, TaskOutcome, TaskSlot, Ticket, TicketStatus, Trigger

from .cron import Task
from .slot_plan import MissedSlots

PAGE_SIZE = 50
MAX_RECENT = 12
"""Newest slots of each task from which its state is described."""
SUCCESSES = (TaskOutcome.ACTED, TaskOutcome.NOOP)


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot with the ticket that it created or waited for."""

    slot: TaskSlot
    ticket: str | None
    ticket_status: TicketStatus | None

    @property
    def did_work(self) -> bool | None:
        """True when the work was done, False when it was not, None while that is open.

        Work that was given to a ticket is done when the ticket is.
        """
        slot = self.slot
        if slot.reason is not None:
            return False
        if slot.ended is None:
            return None
        if slot.outcome not in SUCCESSES:
            return False
        if self.ticket_status is None or self.ticket_status is TicketStatus.DONE:
            return True
        return False if self.ticket_status in TERMINAL else None


# ------------------------------------------------------------------------------------------------------------- writing


def begin_slot(session: Session, task: Task, host: str, trigger: Trigger, due: datetime, start: datetime) -> TaskSlot:
    """Record that a task was started for a slot."""
    rule = task.head.catch_up
    slot = TaskSlot(host=host, task=task.name, trigger=trigger, due=due, until=due, catch_up=rule, started=start)
    session.add(slot)
    session.flush()
    return slot


def end_slot(
    session: Session, slot_id: int, ended: datetime, outcome: TaskOutcome, reason: MissReason | None = None
) -> None:
    """Record how the run of a slot ended, with the reason if it was skipped."""
    values = {"ended": ended, "outcome": outcome, "reason": reason}
    session.execute(update(TaskSlot).where(TaskSlot.id == slot_id).values(**values))


def set_ticket(session: Session, slot_id: int, ticket_id: int) -> None:
    """Record the ticket that a slot created or waited for."""
    session.execute(update(TaskSlot).where(TaskSlot.id == slot_id).values(ticket_id=ticket_id))


def record_missed(session: Session, task: Task, host: str, slots: MissedSlots) -> None:
    """Record slots that were missed. They extend the row of those before, if these were missed for the same reason."""
    last = _find_last(session, task.name, host)
    if last and last.started is None and last.reason is slots.reason and last.until < slots.first:
        last.until, last.count = slots.last, last.count + slots.count
        return
    session.add(
        TaskSlot(
            host=host,
            task=task.name,
            trigger=Trigger.TIMER,
            due=slots.first,
            until=slots.last,
            count=slots.count,
            catch_up=task.head.catch_up,
            reason=slots.reason,
        )
    )


def close_interrupted(session: Session, host: str) -> None:
    """Mark the slots of a host whose run did not end, as its scheduler has ended before them."""
    is_open = (TaskSlot.host == host, TaskSlot.started.is_not(None), TaskSlot.ended.is_(None))
    session.execute(update(TaskSlot).where(*is_open).values(reason=MissReason.INTERRUPTED))


# ------------------------------------------------------------------------------------------------------------- reading


def find_last_slot(session: Session, task: str, host: str) -> datetime | None:
    """Return the time of the last slot of a task in the ledger of a host, run or missed."""
    last = _find_last(session, task, host)
    return last.until if last else None


def _find_last(session: Session, task: str, host: str) -> TaskSlot | None:
    timed = (TaskSlot.task == task, TaskSlot.host == host, TaskSlot.trigger == Trigger.TIMER)
    return session.scalar(select(TaskSlot).where(*timed).order_by(TaskSlot.until.desc(), TaskSlot.id.desc()).limit(1))


def find_open_ticket(session: Session, task: str) -> Ticket | None:
    """Find the ticket that the task created last, if it is still open."""
    created = select(TaskSlot.ticket_id).where(TaskSlot.task == task, TaskSlot.ticket_id.is_not(None))
    newest = created.order_by(TaskSlot.due.desc(), TaskSlot.id.desc()).limit(1).scalar_subquery()
    return session.scalar(select(Ticket).where(Ticket.id == newest, Ticket.status.not_in(TERMINAL)))


def list_slots(session: Session, task: str, before: int | None = None, limit: int = PAGE_SIZE) -> list[SlotView]:
    """List the slots of a task, the last due first, after the slot with the id `before`."""
    query = select(TaskSlot).where(TaskSlot.task == task)
    cursor = session.get(TaskSlot, before) if before is not None else None
    if cursor is not None:
        query = query.where((TaskSlot.due < cursor.due) | ((TaskSlot.due == cursor.due) & (TaskSlot.id < cursor.id)))
    slots = session.scalars(query.order_by(TaskSlot.due.desc(), TaskSlot.id.desc()).limit(limit)).all()
    return _add_tickets(session, slots)


def load_recent(session: Session, names: Iterable[str]) -> dict[str, list[SlotView]]:
    """Load the newest slots of each task in one statement, the last due first."""
    recent: dict[str, list[SlotView]] = {name: [] for name in names}
    if not recent:
        return {}
    parts = [
        select(select(TaskSlot.id).where(TaskSlot.task == name).order_by(TaskSlot.due.desc(), TaskSlot.id.desc())
               .limit(MAX_RECENT).subquery().c.id)
        for name in recent
    ]  # fmt: skip
    slot = aliased(TaskSlot)
    query = select(slot).where(slot.id.in_(union_all(*parts))).order_by(slot.due.desc(), slot.id.desc())
    for view in _add_tickets(session, session.scalars(query).all()):
        recent[view.slot.task].append(view)
    return recent


def _add_tickets(session: Session, slots: Iterable[TaskSlot]) -> list[SlotView]:
    slots = list(slots)
    ids = {slot.ticket_id for slot in slots if slot.ticket_id is not None}
    query = select(Ticket.id, Ticket.identifier, Ticket.status).where(Ticket.id.in_(ids))
    tickets = {row.id: (row.identifier, row.status) for row in session.execute(query)} if ids else {}
    return [SlotView(slot, *tickets.get(slot.ticket_id or 0, (None, None))) for slot in slots]


def count_missed(views: Iterable[SlotView]) -> int:
    """Count the slots among these that were missed although the task was enabled."""
    reasons = [view.slot for view in views if view.slot.reason not in (None, MissReason.DISABLED)]
    return sum(slot.count for slot in reasons)


def find_last_work(views: Iterable[SlotView]) -> datetime | None:
    """Find when the task last did its work, among its newest slots."""
    return next((view.slot.ended for view in views if view.did_work), None)
