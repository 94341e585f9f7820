"""The price of tokens whose cost a program does not report itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol import find_price

from .agent_events import AgentEvent

TOKEN_KINDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
"""In the order of the prices."""


class Pricing:
    """Adds a cost to the `usage` events of one run, by the price table of its spec.

    An event without a cost is priced as a whole, with the model of the last session. `unpriced` lists by model the tokens that
    its cost does not include yet.
    """

    def __init__(self, prices: Mapping[str, str], model: str | None) -> None:
        self._prices = prices
        self._model = model or ""

    def add_cost(self, agent_event: AgentEvent) -> AgentEvent:
        """Return a `usage` event with its cost, and any other one as it is."""
        if agent_event.kind == "session":
            self._model = str(agent_event.payload.get("model") or self._model)
        if agent_event.kind != "usage":
            return agent_event
        payload = dict(agent_event.payload)
        unpriced = payload.pop("unpriced", None)
        if unpriced is None:
            unpriced = {self._model: payload} if payload.get("cost_usd") is None else {}
        costs = [cost for model, tokens in unpriced.items() if (cost := self._compute_cost(model, tokens)) is not None]
        if costs:
            payload["cost_usd"] = round(float(payload.get("cost_usd") or 0) + sum(costs), 9)
        return AgentEvent("usage", payload)

    def _compute_cost(self, model: str, tokens: Mapping[str, Any]) -> float | None:
        price = find_price(self._prices, model)
        if price is None:
            return None
        amounts = [float(amount) for amount in price.split()]
        return sum(int(tokens.get(kind) or 0) * amount for kind, amount in zip(TOKEN_KINDS, amounts, strict=True)) / 1e6
