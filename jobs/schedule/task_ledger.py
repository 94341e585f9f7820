"""Writes the ledger of this host's tasks. What the store does not take at once is written later, in the same order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import DBAPIError

from database import Session, reading, writing
from jobs.job_context import JobContext
from models import MissReason, TaskOutcome, Trigger, now
from tickets.operations import ledger
from tickets.operations.cron import Task
from tickets.operations.slot_plan import MissedSlots

MAX_PENDING = 1000
"""Changes of the ledger that wait for the store."""
Change = Callable[[Session], None]


@dataclass(slots=True)
class RunningSlot:
    """A slot whose task runs. It has no `id` before it is in the store."""

    task: Task
    due: datetime
    id: int | None = None


class TaskLedger:
    """The ledger of one host. Its methods may be called from several threads."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._engine = context.engine
        self._host = context.host
        self._log = log
        self._pending: deque[Change] = deque(maxlen=MAX_PENDING)
        self._lock = threading.Lock()

    def begin_slot(self, task: Task, trigger: Trigger, due: datetime) -> RunningSlot:
        """Record that a task is started."""
        slot, started = RunningSlot(task, due), now()

        def change(session: Session) -> None:
            slot.id = ledger.begin_slot(session, task, self._host, trigger, due, started).id

        self._write(change)
        return slot

    def end_slot(self, slot: RunningSlot, outcome: TaskOutcome, reason: MissReason | None) -> None:
        """Record how a task ended."""
        ended = now()

        def change(session: Session) -> None:
            assert slot.id is not None  # its beginning was written before
            ledger.end_slot(session, slot.id, ended, outcome, reason)

        self._write(change)

    def record_missed(self, task: Task, missed: list[MissedSlots]) -> None:
        """Record slots that were missed."""

        def change(session: Session) -> None:
            for slots in missed:
                ledger.record_missed(session, task, self._host, slots)

        if missed:
            self._write(change)

    def close_interrupted(self) -> None:
        """Mark the slots that an earlier scheduler of this host left open."""
        self._write(lambda session: ledger.close_interrupted(session, self._host))

    def find_last_slot(self, task: str) -> datetime | None:
        """Return the time of the last slot of a task in the ledger."""
        with reading(self._engine) as session:
            return ledger.find_last_slot(session, task, self._host)

    def write_pending(self) -> None:
        """Write what the store did not take before."""
        if self._pending:
            self._write()

    def _write(self, *changes: Change) -> None:
        with self._lock:
            self._pending.extend(changes)
            try:
                with writing(self._engine, patient=False) as session:
                    for change in self._pending:
                        change(session)
            except DBAPIError as error:
                self._log(f"the ledger of tasks is written later: {str(error.orig).splitlines()[0]}")
            else:
                self._pending.clear()
