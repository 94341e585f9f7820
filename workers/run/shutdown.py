"""How an agent is brought to its end, and the limits that may call for it. No clock of its own: `now` is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from protocol import RunLimits

from .verdict import Cause

MAX_GRACE_SECONDS = 10.0
KILL_AFTER_SECONDS = 3.0
"""From TERM to KILL. With the longest grace everything is gone within 15 seconds."""

ShutdownStep = Literal["interrupt", "end", "terminate", "kill"]


class Shutdown:
    """The measures of one ending, each once, in order: interrupt, polite end, TERM, KILL of all that is left."""

    def __init__(self, cause: Cause, now: float, grace: float, interrupt: bool) -> None:
        grace = min(max(grace, 0.0), MAX_GRACE_SECONDS)
        polite = now + grace / 4 if interrupt else now
        self.cause = cause
        plan: list[tuple[float, ShutdownStep]] = [
            (now, "interrupt"),
            (polite, "end"),
            (now + grace, "terminate"),
            (now + grace + KILL_AFTER_SECONDS, "kill"),
        ]
        self._plan = plan if interrupt else plan[1:]

    def due(self, now: float) -> ShutdownStep | None:
        """The next measure if its time has come."""
        if self._plan and self._plan[0][0] <= now:
            return self._plan.pop(0)[1]
        return None

    def hurry(self, now: float) -> None:
        """The turn is over: the polite end need not wait any longer."""
        if self._plan and self._plan[0][1] == "end":
            self._plan[0] = (now, "end")


@dataclass(slots=True)
class LimitTimers:
    """The moments from which limits are counted (seconds of a monotonic clock)."""

    limits: RunLimits
    started: float
    heard: float
    heard_anything: bool = False
    turn: float | None = None

    def restart_silence(self, now: float) -> None:
        """The agent has printed a line."""
        self.heard = now
        self.heard_anything = True

    def track_turn(self, running: bool, now: float) -> None:
        if not running:
            self.turn = None
        elif self.turn is None:
            self.turn = now

    def find_expired_limit(self, now: float) -> Cause | None:
        """The limit that has passed, if one has."""
        limits = self.limits
        if not self.heard_anything and now - self.started > limits.startup_seconds:
            return _make_timeout("startup", f"The agent printed nothing for {limits.startup_seconds:g} seconds.")
        if now - self.started > limits.run_seconds:
            return _make_timeout("run", f"The run took longer than {limits.run_seconds:g} seconds.")
        if self.turn is None:
            return None
        if now - self.turn > limits.turn_seconds:
            return _make_timeout("turn", f"A turn took longer than {limits.turn_seconds:g} seconds.")
        if now - self.heard > limits.silence_seconds:
            return _make_timeout("silence", f"The agent was silent in its turn for {limits.silence_seconds:g} seconds.")
        return None


def _make_timeout(code: str, text: str) -> Cause:
    return Cause("timed_out", text, code)


def find_exhausted_budget(limits: RunLimits, usage: Mapping[str, Any] | None) -> Cause | None:
    """The allowance that is used up, by the totals of a `usage` event; what is read again from a cache does not count."""
    if usage is None:
        return None
    tokens = sum(int(usage.get(f"{kind}_tokens") or 0) for kind in ("input", "output", "cache_write"))
    for name, amount, allowed in (
        ("turns", usage.get("turns") or 0, limits.turns),
        ("tokens", tokens, limits.tokens),
        ("cost_usd", usage.get("cost_usd") or 0, limits.cost_usd),
    ):
        if allowed is not None and amount > allowed:
            return Cause("budget", f"The run used {amount:g} of {allowed:g} {name}.", name)
    return None
