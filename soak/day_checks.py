"""The conditions that hold for the whole board at the end of a simulated day, beside those of each scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import (
    InboxItem,
    InboxState,
    Run,
    RunState,
    TaskOutcome,
    TaskSlot,
    Ticket,
    TicketEvent,
    TicketStatus,
    Trigger,
)
from tickets.schedule import cron
from tickets.schedule.cron import Task

from .day_alerts import ReceivedAlert
from .day_outcome import describe_item, is_about
from .scenarios import Progress

GOOD_OUTCOMES = (TaskOutcome.ACTED, TaskOutcome.NOOP, TaskOutcome.SKIPPED)


def list_slot_problems(session: Session, task: Task, zone: ZoneInfo, start: datetime, end: datetime) -> list[str]:
    """List the slots of a task without a row in the ledger or with several, and the rows that belong to no slot.

    A shipped task of every so many minutes also runs at the start of a new board.
    """
    times = set(cron.list_past_times(task, start, end, zone))
    rows = session.scalars(select(TaskSlot).where(TaskSlot.task == task.name, TaskSlot.trigger == Trigger.TIMER))
    covered = Counter(time for row in rows for time in _list_covered(row, times))
    is_started_early = task.is_shipped and task.is_interval
    allowed = times | ({start} if is_started_early else set())
    return [
        *(f"slot {time} of {task.name} has no row in the ledger" for time in sorted(times - covered.keys())),
        *(f"slot {time} of {task.name} has {count} rows" for time, count in covered.items() if count > 1),
        *(f"the ledger has {time} of {task.name}, which is no slot" for time in sorted(covered.keys() - allowed)),
    ]


def _list_covered(row: TaskSlot, times: Iterable[datetime]) -> list[datetime]:
    """List the slots that a row stands for: its own, or all of a sequence that was missed."""
    if row.started is not None:
        return [row.due]
    covered = [time for time in times if row.due <= time <= row.until]
    return covered if len(covered) == row.count else [*covered, row.due]


def list_failed_tasks(session: Session) -> Iterator[str]:
    """List the runs of tasks that ended otherwise than acted, with nothing to do or skipped."""
    ended = select(TaskSlot).where(TaskSlot.started.is_not(None)).order_by(TaskSlot.id)
    for row in session.scalars(ended):
        if row.outcome not in GOOD_OUTCOMES:
            yield f"{row.task} of {row.due} ended {row.outcome.value if row.outcome else 'never'}"


def list_open_runs(session: Session) -> list[str]:
    """List the runs that have not ended."""
    query = select(Ticket.identifier).join(Run, Run.ticket_id == Ticket.id).where(Run.state != RunState.ENDED)
    return [f"a run of {identifier} has not ended" for identifier in session.scalars(query)]


def list_open_items(session: Session, scenarios: Iterable[Progress]) -> list[str]:
    """List the items that did not end acted with an action or failed with a reason, without those that a scenario expects."""
    expected = {(progress.ticket_id, line) for progress in scenarios for line in progress.scenario.expect.inbox}
    items = [item for item in session.scalars(select(InboxItem).order_by(InboxItem.id)) if not _has_ended(item)]
    return [
        f"item {item.id} is open: {describe_item(item)} {item.title}"
        for item in items
        if (item.ticket_id, describe_item(item)) not in expected
    ]


def _has_ended(item: InboxItem) -> bool:
    endings = {InboxState.ACTED: item.action, InboxState.FAILED: item.failure}
    return bool(endings.get(item.state))


def list_other_problems(
    session: Session, scenarios: Iterable[Progress], received: Sequence[ReceivedAlert]
) -> list[str]:
    """List the items and alerts that belong to no scenario, without what tells of finished reviews and inbox work."""
    own_ids = [progress.ticket_id for progress in scenarios]
    tickets = session.scalars(select(Ticket).where(Ticket.id.in_(own_ids))).all()
    items = [item for item in session.scalars(select(InboxItem)) if not any(is_about(item, one) for one in tickets)]
    identifiers = {ticket.identifier for ticket in tickets}
    texts = Counter(alert.text for alert in received if alert.identifier not in identifiers)
    return [
        *(f"item {describe_item(item)} belongs to no scenario: {item.title}" for item in items),
        *(
            f"alert belongs to no scenario: {text}"
            for text in sorted((texts - _count_endings(session, own_ids)).elements())
        ),
    ]


def _count_endings(session: Session, own_ids: Sequence[int | None]) -> Counter[str]:
    """Count how often each ticket that belongs to no scenario was done, by the text of the alert about it."""
    query = (
        select(Ticket, TicketEvent)
        .join(TicketEvent, TicketEvent.ticket_id == Ticket.id)
        .where(Ticket.id.not_in(own_ids), TicketEvent.event_type == "ticket_moved")
    )
    rows = [ticket for ticket, event in session.execute(query) if event.payload_json["to"] == TicketStatus.DONE]
    return Counter(f"{ticket.identifier} is done: {ticket.title}" for ticket in rows)
