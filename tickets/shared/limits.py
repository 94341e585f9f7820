"""The names of limits: those of a run's wrapper, and the budgets that a profile may set for its own runs."""

from __future__ import annotations

from settings import Limits

SPENT = ("tokens", "cost_usd", "turns", "minutes")
MEASURES = ("runs", *SPENT)
BUDGETS = frozenset({*SPENT, *(f"{scope}_{measure}" for scope in ("ticket", "day") for measure in MEASURES)})
"""Of a profile; without a scope they are for one run."""
OF_A_RUN = frozenset({*Limits.model_fields, "memory_mb"})
OF_A_PROFILE = BUDGETS | OF_A_RUN


def checked(given: dict[str, float]) -> dict[str, float]:
    """The limits of a profile; raises ValueError naming the first that is unknown or not above zero."""
    for name, value in given.items():
        if name not in OF_A_PROFILE:
            raise ValueError(f"{name!r} is no limit of a profile; there are {', '.join(sorted(OF_A_PROFILE))}")
        if not 0 < value < 2**53:
            raise ValueError(f"{name} must be above zero; leave it out for no limit of its own")
    return given
