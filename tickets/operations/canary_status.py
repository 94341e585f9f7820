"""The last journey of the canary, for the overview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import TaskOutcome, TaskRun
from tickets.shared.canary import CANARY_TASK

LAST_JOURNEYS = (
    select(TaskRun)
    .where(TaskRun.task == CANARY_TASK, TaskRun.outcome != TaskOutcome.NOOP)
    .order_by(TaskRun.id.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class CanaryStatus:
    """The last journey: its end, the seconds of each leg, and why it was skipped or failed, if it was."""

    at: datetime
    outcome: str
    legs: dict[str, float]
    reason: str

    @property
    def seconds(self) -> float:
        return sum(self.legs.values())


def load_last_journey(session: Session) -> CanaryStatus | None:
    """Load the last journey, or None before the first."""
    row = session.scalar(LAST_JOURNEYS)
    if row is None or row.outcome is None:
        return None
    summary = row.summary or {}
    reason = str(summary.get("error") or summary.get("reason") or "")
    return CanaryStatus(row.ended or row.started, row.outcome.value, summary.get("legs") or {}, reason)
