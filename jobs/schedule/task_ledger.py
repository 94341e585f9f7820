"""Writes the ledger of this host's tasks. What the store does not take at once is written later, in the same order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import OperationalError

from database import Session, reading, writing
from jobs.job_context import JobContext
from models import MissReason, TaskOutcome, Trigger, now
from tickets.schedule import ledger
from tickets.schedule.cron import Task
from tickets.schedule.slot_plan import MissedSlots

MAX_PENDING = 1000
"""Changes of the ledger that wait for the store. Later ones are dropped."""
Change = Callable[[Session], None]


@dataclass(slots=True)
class RunningSlot:
    """A slot whose task runs. Its `id` is preliminary until `is_stored`."""

    id: int | None = None
    is_stored: bool = False


class TaskLedger:
    """The ledger of one host. Its methods may be called from several threads."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._engine = context.engine
        self._host = context.host
        self._log = log
        self._pending: deque[Change] = deque()
        self._lock = threading.Lock()

    def begin_slot(self, task: Task, trigger: Trigger, due: datetime) -> RunningSlot:
        """Record that a task is started."""
        slot, start = RunningSlot(), now()

        def change(session: Session) -> None:
            slot.id = ledger.begin_slot(session, task, self._host, trigger, due, start).id

        slot.is_stored = self._write(change) and slot.id is not None
        return slot

    def end_slot(self, slot: RunningSlot, outcome: TaskOutcome, reason: MissReason | None) -> None:
        """Record how a task ended."""
        ended = now()

        def change(session: Session) -> None:
            if slot.id is not None:
                ledger.end_slot(session, slot.id, ended, outcome, reason)

        self._write(change)

    def record_missed(self, task: Task, sequences: list[MissedSlots]) -> None:
        """Record slots that were missed."""

        def change(session: Session) -> None:
            for slots in sequences:
                ledger.record_missed(session, task, self._host, slots)

        if sequences:
            self._write(change, patient=False)

    def close_interrupted(self) -> None:
        """Mark the slots that an earlier scheduler of this host left open."""
        self._write(lambda session: ledger.close_interrupted(session, self._host))

    def find_last_slot(self, task: str) -> datetime | None:
        """Return the time of the last slot of a task in the ledger."""
        with reading(self._engine) as session:
            return ledger.find_last_slot(session, task, self._host)

    def write_pending(self) -> None:
        """Write what the store did not take before, unless it is busy again."""
        if self._pending:
            self._write(patient=False)

    def _write(self, *changes: Change, patient: bool = True) -> bool:
        """Write the changes after those that are pending. Without patience a busy store leaves all of them pending.

        Returns whether they are in the store.
        """
        if len(self._pending) < MAX_PENDING:
            self._pending.extend(changes)
        if not self._lock.acquire(blocking=patient):
            return False
        try:
            self._write_in_order(patient)
            return True
        except OperationalError as error:
            self._log(f"the ledger of tasks is written later: {str(error.orig).splitlines()[0]}")
        except Exception as error:  # what cannot be written holds nothing else up
            self._pending.clear()
            self._log(f"the ledger of tasks could not be written: {type(error).__name__}: {error}")
        finally:
            self._lock.release()
        return False

    def _write_in_order(self, patient: bool) -> None:
        pending = list(self._pending)
        if not pending:
            return
        with writing(self._engine, patient=patient) as session:
            for change in pending:
                change(session)
        for _ in pending:
            self._pending.popleft()
