"""Slots of runs that wait for a person: given back for others, and taken again before an answer reaches the agent.

A waiting run keeps its process and its workspace. Once it has an answer it counts as at work again, so that the dispatcher starts
nothing in its place, and it goes on as soon as fewer runs are at work than allowed. Earlier answers go first.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session, aliased

from database import fetch_rows
from models import Agent, RequestState, Run, RunMode, RunRequest, RunState, now
from tickets.shared import events
from tickets.shared.actors import Actor

SLOTS = Actor.system("slots")
OTHER = aliased(Run)
ANSWERED = (
    select(func.min(RunRequest.answered))
    .where(RunRequest.run_id == OTHER.id, RunRequest.state == RequestState.ANSWERED)
    .where(RunRequest.answered > OTHER.slot_released)
    .correlate(OTHER)
    .scalar_subquery()
)
"""When the earliest answer came that a run without a slot has not been given, or null."""


def release_slot(session: Session, run: Run) -> None:
    """Give back the slot of a run that waits for a person. Does nothing when no request is open, or it has none."""
    is_open = exists().where(RunRequest.run_id == run.id, RunRequest.state == RequestState.PENDING)
    values = {"slot_released": now()}
    mine = (Run.id == run.id, Run.slot_released.is_(None), Run.mode != RunMode.EXTERNAL, is_open)
    if session.scalar(update(Run).where(*mine).values(**values).returning(Run.id)) is not None:
        events.append(session, run.ticket_id, "slot_released", {"run": run.id}, SLOTS, run.id)


def take_slot(session: Session, run: Run) -> None:
    """Count a run as at work again."""
    if run.slot_released is not None:
        session.execute(update(Run).where(Run.id == run.id).values(slot_released=None))
        events.append(session, run.ticket_id, "slot_taken", {"run": run.id}, SLOTS, run.id)


def can_take_slot(session: Session, run: Run, total: int) -> bool:
    """Check that fewer runs are at work, or were answered earlier, than its agent and all together may have."""
    answer_times = find_answer_time(session, run.id)
    if answer_times is None:
        return False
    live = (OTHER.state != RunState.ENDED, OTHER.mode != RunMode.EXTERNAL, OTHER.id != run.id)
    goes_first = OTHER.slot_released.is_(None) | (answer_times > ANSWERED)
    counts = select(OTHER.agent, func.count()).where(*live, goes_first).group_by(OTHER.agent)
    busy: dict[str, int] = dict(fetch_rows(session, counts).all())
    capacity = session.scalar(select(Agent.capacity).where(Agent.name == run.agent))
    return sum(busy.values()) < max(1, total) and (capacity is None or busy.get(run.agent, 0) < capacity)


def find_answer_time(session: Session, run_id: int) -> datetime | None:
    """Find when a run without a slot was answered, or None."""
    return session.scalar(select(ANSWERED).select_from(OTHER).where(OTHER.id == run_id))
