"""The names of limits: those of a run's wrapper, and the budgets that a profile may set for its own runs."""

from __future__ import annotations

from settings import Limits

USAGE_MEASURES = ("tokens", "cost_usd", "turns", "minutes")
MEASURES = ("runs", *USAGE_MEASURES)
BUDGETS = frozenset({*USAGE_MEASURES, *(f"{scope}_{measure}" for scope in ("ticket", "day") for measure in MEASURES)})
"""Of a profile; without a scope they are for one run."""
RUN_LIMITS = frozenset({*Limits.model_fields, "memory_mb"})
PROFILE_LIMITS = BUDGETS | RUN_LIMITS


def check_limits(limits: dict[str, float]) -> dict[str, float]:
    """The limits of a profile; raises ValueError naming the first that is unknown or not above zero."""
    for name, value in limits.items():
        if name not in PROFILE_LIMITS:
            raise ValueError(f"{name!r} is no limit of a profile; there are {', '.join(sorted(PROFILE_LIMITS))}")
        if not 0 < value < 2**53:
            raise ValueError(f"{name} must be above zero; leave it out for no limit of its own")
    return limits
