"""The runtime state of a ticket, derived from the heartbeats of its run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select

from models import Profile, RequestState, Run, RunMode, RunRequest, RunState, ago, now
from tickets.shared import lookup
from tickets.team.agents import HAS_ANSWER

SILENCE_LIMIT = timedelta(seconds=45)
"""A wrapper sends a heartbeat every five seconds. An external run has a limit of its own."""
STARTING = timedelta(minutes=5)
"""The longest that any start takes until the first beat."""
UNANSWERABLE_LIMIT = timedelta(seconds=60)
"""How long a run may wait without a question or approval before a person is told that there is nothing to answer."""
_IS_LIVE = Run.state != RunState.ENDED
"""The first part of each condition, which has the index of live runs."""
_WRAPPER_IS_LATE = and_(
    lookup.IS_DISPATCHED,
    or_(Run.heartbeat < ago(SILENCE_LIMIT), and_(Run.heartbeat.is_(None), Run.started < ago(STARTING))),
)
_SERVICE_IS_LATE = and_(Run.mode == RunMode.EXTERNAL, Run.silent_after < ago())
IS_WRAPPER_SILENT: ColumnElement[bool] = and_(_IS_LIVE, _WRAPPER_IS_LATE)
IS_SILENT: ColumnElement[bool] = and_(_IS_LIVE, or_(_WRAPPER_IS_LATE, _SERVICE_IS_LATE))
"""`is_silent` as a condition of a query."""
NEEDS_PERSON: ColumnElement[bool] = and_(_IS_LIVE, or_(Run.state == RunState.WAITING, _SERVICE_IS_LATE))
"""`needs_person` as a condition of a query."""


def is_silent(run: Run) -> bool:
    """Return whether a live run should have given a sign of life and did not."""
    if run.mode is RunMode.EXTERNAL:
        return run.silent_after is not None and run.silent_after < now()
    limit = STARTING if run.heartbeat is None else SILENCE_LIMIT
    return get_last_sign(run) < now() - limit


def is_silent_outside(run: Run) -> bool:
    return run.mode is RunMode.EXTERNAL and is_silent(run)


def needs_person(run: Run) -> bool:
    """Return whether a person must answer this live run, or see why one outside Mission Control is silent."""
    return run.state is RunState.WAITING or is_silent_outside(run)


def is_unanswerable(run: Run) -> bool:
    """Return whether a run waits for so long that, without a pending request, nobody can answer it."""
    since = run.waiting_since
    return run.state is RunState.WAITING and since is not None and since < now() - UNANSWERABLE_LIMIT


def select_unanswerable(limit: timedelta) -> Select[int]:
    """Select the runs that have waited for so long without a pending request, or an answer that waits for a slot.

    Runs that a person has taken over are left out.
    """
    pending = exists().where(RunRequest.run_id == Run.id, RunRequest.state == RequestState.PENDING)
    waits = (_IS_LIVE, Run.state == RunState.WAITING, Run.waiting_since < ago(limit))
    screen_profile = exists().where(Profile.name == Run.profile, Profile.mode == RunMode.TUI)
    alone = or_(Run.mode == RunMode.HEADLESS, and_(Run.mode == RunMode.TUI, screen_profile))
    return select(Run.id).where(*waits, alone, ~pending, ~HAS_ANSWER)


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
    """Select the tickets with a live run of this installation whose state is unknown."""
    return select_held(IS_WRAPPER_SILENT)


def select_asking() -> Select[Any]:
    """Select the tickets with a live run that needs a person."""
    return select_held(NEEDS_PERSON)
