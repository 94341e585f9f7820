"""What the runtime of a ticket does, as far as its run was heard."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from models import Run, RunMode, RunState, ago, now

SILENCE_LIMIT = timedelta(seconds=30)
"""A wrapper beats every five seconds; what runs outside Mission Control need not."""


def get_state(run: Run | None) -> str:
    """The state of a live run; unknown when its wrapper has been silent for more than a few beats."""
    if run is None:
        return "closed"
    beats = run.state is not RunState.STARTING and run.mode is not RunMode.EXTERNAL
    return "unknown" if beats and get_last_sign(run) < now() - SILENCE_LIMIT else run.state.value


def get_last_sign(run: Run) -> datetime:
    """When the run gave its last sign of life."""
    return run.heartbeat or run.started


def select_held(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The tickets that a live run holds."""
    return select(Run.ticket_id).where(Run.state != RunState.ENDED, *conditions)


def select_unheard() -> Select[Any]:
    """Of those, the ones whose runtime is unknown."""
    beats = (Run.state != RunState.STARTING, Run.mode != RunMode.EXTERNAL)
    return select_held(*beats, func.coalesce(Run.heartbeat, Run.started) < ago(SILENCE_LIMIT))


def select_asking() -> Select[Any]:
    """Of those, the ones whose run waits in the middle of its work: for leave to use a tool, or for a choice."""
    return select_held(Run.state == RunState.WAITING)
