"""Decides which of the times at which a task was due it runs for, and why it missed the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from zoneinfo import ZoneInfo

from models import CatchUp, MissReason

from . import cron
from .cron import Task

MAX_COUNT = 20_000
"""Missed slots that are counted: two weeks of a task of every minute. Those before them belong to the first row."""
MAX_CATCH_UP = 100
"""Missed slots that a task makes up for, the newest ones, by the rule `all`."""
LATE_LIMIT = timedelta(seconds=60)
"""How late a slot may begin that is not made up for, by the rule `skip`."""


@dataclass(frozen=True, slots=True)
class MissedSlots:
    """A sequence of slots that were missed for one reason."""

    first: datetime
    last: datetime
    count: int
    reason: MissReason


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """The slot that a task runs for now, if any, and those that it has missed before or instead."""

    due: datetime | None = None
    missed: list[MissedSlots] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Causes:
    """The causes that kept a task from running: the time before the scheduler's start, sleeps of the machine, its own last run.

    `changed` is when the file of a user's task was changed: what was due before is not made up for.
    """

    started: datetime
    sleeps: Sequence[tuple[datetime, datetime]] = ()
    run_ended: datetime | None = None
    is_enabled: bool = True
    changed: datetime = cron.BEGINNING


def plan_slots(
    task: Task, after: datetime, moment: datetime, zone: ZoneInfo, offset: timedelta, causes: Causes
) -> SlotPlan:
    """Plan the slots of a task that are later than `after`, the last one in the ledger, up to `moment`."""
    first = cron.find_next_time(task, after, zone, offset).astimezone(UTC)
    if first > moment:
        return SlotPlan()
    # Within a doubled hour the times before it are listed only, so that the first one is added.
    times = list(islice(cron.list_past_times(task, after, moment, zone, offset), MAX_COUNT)) or [first]
    due = _choose_due(times, moment, task.head.catch_up, causes)
    sequences = _group_missed(reversed([time for time in times if due is None or time < due]), causes)
    if len(times) == MAX_COUNT and sequences:
        sequences[0] = replace(sequences[0], first=first)
    return SlotPlan(due, sequences)


def _choose_due(times: list[datetime], moment: datetime, rule: CatchUp, causes: Causes) -> datetime | None:
    """Choose the slot to run for among the `times`, newest first."""
    allowed = [time for time in times[:MAX_CATCH_UP] if causes.is_enabled and time > causes.changed]
    if not allowed:
        return None
    match rule:
        case CatchUp.ALL:
            return allowed[-1]
        case CatchUp.ONCE:
            return allowed[0]
        case CatchUp.SKIP:
            return allowed[0] if moment - allowed[0] <= LATE_LIMIT else None


def _group_missed(times: Iterable[datetime], causes: Causes) -> list[MissedSlots]:
    groups = []
    for reason, group in groupby(times, lambda time: _find_reason(time, causes)):
        members = list(group)
        groups.append(MissedSlots(members[0], members[-1], len(members), reason))
    return groups


def _find_reason(time: datetime, causes: Causes) -> MissReason:
    if not causes.is_enabled:
        return MissReason.DISABLED
    if time <= causes.started:
        return MissReason.NOT_RUNNING
    if any(start < time <= end for start, end in causes.sleeps):
        return MissReason.ASLEEP
    if causes.run_ended and time <= causes.run_ended:
        return MissReason.STILL_RUNNING
    return MissReason.BUSY
