"""Usage of a run as counted by its agent, in totals that only increase."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import Field, ValidationError
from sqlalchemy import update
from sqlalchemy.orm import Session

from models import Run
from tickets.shared.inputs import WrapperBody
from tickets.shared.lookup import get_run

COUNTERS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd", "turns")

MAX_VALUE = 10**15
"""More than any run can use. A larger value is invalid."""


class Usage(WrapperBody):
    """Totals of a run's process so far."""

    input_tokens: int = Field(0, ge=0, le=MAX_VALUE)
    output_tokens: int = Field(0, ge=0, le=MAX_VALUE)
    cache_read_tokens: int = Field(0, ge=0, le=MAX_VALUE)
    cache_write_tokens: int = Field(0, ge=0, le=MAX_VALUE)
    cost_usd: float | None = Field(None, ge=0, le=MAX_VALUE, allow_inf_nan=False)
    turns: int = Field(0, ge=0, le=MAX_VALUE)
    cumulative: bool = True
    exact: bool = False
    """Counted by the program itself, so that an estimate before it is corrected."""
    context_tokens: int | None = None
    context_window: int | None = None


def parse_usage(payload: dict[str, Any]) -> Usage | None:
    """Parse the usage in an event's payload. Unknown fields are ignored, and invalid usage yields None."""
    fields = {name: value for name, value in payload.items() if name in Usage.model_fields}
    with suppress(ValidationError):
        return Usage.model_validate(fields)
    return None


def record_usage(session: Session, run_id: int, usage: Usage | None, *, is_newest: bool = False) -> Run:
    """Record a run's totals and return the run. A total never decreases when an older report arrives late.

    The exact totals of the newest event replace estimates.
    """
    run = get_run(session, run_id)
    if usage is None:
        return run
    replaces = is_newest and usage.exact
    totals = {name: getattr(usage, name) for name in COUNTERS}
    values = {
        name: value
        for name, value in totals.items()
        if value is not None and (replaces or _exceeds(value, getattr(run, name)))
    }
    if not values:
        return run
    session.execute(update(Run).where(Run.id == run_id).values(**values))
    return get_run(session, run_id)


def _exceeds(value: float, present: float | None) -> bool:
    return present is None or value > present
