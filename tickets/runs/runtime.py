"""The runtime state of a ticket, derived from the heartbeats of its run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from models import Run, RunMode, RunState, ago, now

SILENCE_LIMIT = timedelta(seconds=30)
"""A wrapper sends a heartbeat every five seconds. External runs need not."""


def get_state(run: Run | None) -> str:
    """Return the state of a live run, which is unknown after several missed heartbeats of its wrapper."""
    if run is None:
        return "closed"
    beats = run.state is not RunState.STARTING and run.mode is not RunMode.EXTERNAL
    return "unknown" if beats and get_last_sign(run) < now() - SILENCE_LIMIT else run.state.value


def get_last_sign(run: Run) -> datetime:
    """Return the time of the run's last heartbeat, or its start."""
    return run.heartbeat or run.started


def select_held(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select the tickets with a live run."""
    return select(Run.ticket_id).where(Run.state != RunState.ENDED, *conditions)


def select_unheard() -> Select[Any]:
    """Select the tickets with a live run whose state is unknown."""
    beats = (Run.state != RunState.STARTING, Run.mode != RunMode.EXTERNAL)
    return select_held(*beats, func.coalesce(Run.heartbeat, Run.started) < ago(SILENCE_LIMIT))


def select_asking() -> Select[Any]:
    """Select the tickets with a live run that waits for a tool approval or an answer."""
    return select_held(Run.state == RunState.WAITING)
