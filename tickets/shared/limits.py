"""Names of limits: those of a run's wrapper, and the budgets that a profile may set for its runs."""

from __future__ import annotations

from settings import Limits

USAGE_MEASURES = ("tokens", "cost_usd", "turns", "minutes")
MEASURES = ("runs", *USAGE_MEASURES)
BUDGETS = frozenset({*USAGE_MEASURES, *(f"{scope}_{measure}" for scope in ("ticket", "day") for measure in MEASURES)})
"""Budgets of a profile. A name without scope applies to one run."""
RUN_LIMITS = frozenset({*Limits.model_fields, "memory_mb"})
PROFILE_LIMITS = BUDGETS | RUN_LIMITS


def check_limits(limits: dict[str, float]) -> dict[str, float]:
    """Validate the limits of a profile. Raises ValueError naming the first that is unknown or not above zero."""
    for name, value in limits.items():
        if name not in PROFILE_LIMITS:
            raise ValueError(f"{name!r} is not a limit of a profile. Use one of {', '.join(sorted(PROFILE_LIMITS))}")
        if not 0 < value < 2**53:
            raise ValueError(f"{name} must be above zero. Leave it out to set no limit")
    return limits
