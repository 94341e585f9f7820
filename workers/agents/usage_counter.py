"""The usage of a run's process so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.contract.agent_events import AgentEvent


@dataclass(slots=True)
class UsageCounter:
    """Running totals of one process.

    `input_tokens` excludes cache reads and writes, so the three add up to all that the model
    read. `cost_usd` is None while the program reports no cost.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = None
    turns: int = 0
    context_tokens: int | None = None
    context_window: int | None = None

    def make_live_event(self, turns: int, unpriced: Mapping[str, Mapping[str, int]]) -> AgentEvent:
        """Make a `usage` event of the totals and of what is used since, in tokens by model whose cost is not known yet."""
        payload = dict(self.make_event().payload)
        for tokens in unpriced.values():
            for name, count in tokens.items():
                payload[name] += count
        return AgentEvent("usage", {**payload, "turns": self.turns + turns, "exact": False, "unpriced": unpriced})

    def make_event(self) -> AgentEvent:
        """Make a `usage` event of the totals."""
        context = {"context_tokens": self.context_tokens, "context_window": self.context_window}
        return AgentEvent(
            "usage",
            {
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                "cache_read_tokens": self.cache_read_tokens,
                "cache_write_tokens": self.cache_write_tokens,
                "cost_usd": None if self.cost_usd is None else round(self.cost_usd, 9),
                "turns": self.turns,
                "cumulative": True,
                "exact": True,
                **{key: value for key, value in context.items() if value},
            },
        )
