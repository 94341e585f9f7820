"""The runtime state of a ticket, derived from the heartbeats of its run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select

from models import Run, RunMode, RunState, ago, now

SILENCE_LIMIT = timedelta(seconds=45)
"""A wrapper sends a heartbeat every five seconds. External runs need not."""
STARTING = timedelta(minutes=5)
"""The longest that any start takes until the first beat."""
IS_SILENT: ColumnElement[bool] = and_(
    Run.state != RunState.ENDED,
    Run.mode != RunMode.EXTERNAL,
    or_(Run.heartbeat < ago(SILENCE_LIMIT), and_(Run.heartbeat.is_(None), Run.started < ago(STARTING))),
)
"""`is_silent` as a condition of a query; the first part has the index of live runs."""


def is_silent(run: Run) -> bool:
    """Return whether a live run should have given a sign of life and did not."""
    limit = STARTING if run.heartbeat is None else SILENCE_LIMIT
    return run.mode is not RunMode.EXTERNAL and get_last_sign(run) < now() - limit


def get_state(run: Run | None) -> str:
    """The state of a live run; unknown when its wrapper is silent."""
    if run is None:
        return "closed"
    return "unknown" if is_silent(run) else run.state.value


def get_last_sign(run: Run) -> datetime:
    """Return the time of the run's last heartbeat, or its start."""
    return run.heartbeat or run.started


def select_held(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select the tickets with a live run."""
    return select(Run.ticket_id).where(Run.state != RunState.ENDED, *conditions)


def select_unheard() -> Select[Any]:
    """Select the tickets with a live run whose state is unknown."""
    return select_held(IS_SILENT)


def select_asking() -> Select[Any]:
    """Select the tickets with a live run that waits for a tool approval or an answer."""
    return select_held(Run.state == RunState.WAITING)
