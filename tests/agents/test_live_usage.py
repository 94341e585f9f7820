"""Usage in the middle of a turn: what the stream shows, its price, and that a result counts nothing twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol import RunLimits, find_price
from workers.agents.claude.stream import ClaudeStream
from workers.agents.permissions import RequestPolicy
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.pricing import Pricing
from workers.run.shutdown import find_exhausted_budget

from .recordings import FOLDER

PRICES = {"claude-sonnet-4-5*": "3 15 0.3 3.75", "claude-*": "5 25 0.5 6.25", "gpt-5": "1.25 10 0.125 1.25"}
TOTALS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "turns", "cost_usd")


def read_usage(lines: list[dict[str, Any]], prices: dict[str, str] = PRICES) -> list[dict[str, Any]]:
    """The priced usage events of these lines."""
    stream, pricing = ClaudeStream(RequestPolicy(), ()), Pricing(prices, None)
    events = [pricing.add_cost(event) for line in lines for event in stream.read(line)]
    return [dict(event.payload) for event in events if event.kind == "usage"]


def make_piece(
    kind: str, usage: dict[str, int], message: str = "", model: str = "claude-sonnet-4-5", **facts: Any
) -> dict[str, Any]:
    inner = {"message": {"id": message, "model": model, "usage": usage}} if message else {"usage": usage}
    return {"type": "stream_event", "event": {"type": kind, **inner}, **facts}


def make_result(**usage: float) -> dict[str, Any]:
    return {"type": "result", "num_turns": 1, "model_usage_since_last_result": {"claude-sonnet-4-5": usage}}


def test_a_recorded_turn_is_counted_as_it_goes_and_its_result_changes_nothing() -> None:
    lines = [json.loads(line) for line in (FOLDER / "claude-partial.jsonl").read_text().splitlines()]
    usage = read_usage(lines)
    assert [event["exact"] for event in usage] == [False, False, False, False, True]
    assert [(event["input_tokens"], event["output_tokens"], event["turns"]) for event in usage] == [
        (100, 1, 1), (100, 20, 1), (200, 21, 2), (200, 40, 2), (200, 40, 2)
    ]  # fmt: skip
    assert usage[0]["cost_usd"] == pytest.approx((100 * 3 + 15) / 1e6)
    assert {name: usage[-1][name] for name in TOTALS} == pytest.approx({name: usage[-2][name] for name in TOTALS})


def test_cache_and_sub_agents_count_until_the_result_which_corrects_them() -> None:
    start = {
        "input_tokens": 10,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 200,
        "output_tokens": 1,
    }
    helper = {"id": "msg_2", "model": "claude-haiku", "usage": {"input_tokens": 50, "output_tokens": 2}, "content": []}
    sub_agent = {"type": "assistant", "message": helper, "parent_tool_use_id": "toolu_1"}
    totals = {"inputTokens": 70, "outputTokens": 33, "cacheReadInputTokens": 1000, "costUSD": 0.25}
    lines = [
        make_piece("message_start", start, "msg_1"),
        make_piece("message_delta", {"output_tokens": 30}),
        sub_agent,
        sub_agent,  # another block of the same message
        make_result(**totals),
        make_piece("message_start", {"input_tokens": 5, "output_tokens": 1}, "msg_3"),
    ]
    *_, before, result, after = read_usage(lines)
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "turns")
    assert [before[name] for name in names] == [60, 32, 1000, 200, 1]
    sonnet, haiku = 10 * 3 + 30 * 15 + 1000 * 0.3 + 200 * 3.75, 50 * 5 + 2 * 25
    assert before["cost_usd"] == pytest.approx((sonnet + haiku) / 1e6)
    assert [result[name] for name in names] == [70 + 50 - 50, 33, 1000, 0, 1] and result["exact"]
    assert (after["turns"], after["cost_usd"]) == (2, pytest.approx(0.25 + (5 * 3 + 15) / 1e6))


def test_a_message_that_goes_on_after_a_result_stays_counted() -> None:
    lines = [
        make_piece("message_start", {"input_tokens": 7}, "msg_1", parent_tool_use_id="toolu_1"),
        make_result(inputTokens=1),
    ]
    lines.append(make_piece("message_delta", {"output_tokens": 4}, parent_tool_use_id="toolu_1"))
    assert [(event["input_tokens"], event["output_tokens"]) for event in read_usage(lines)] == [(7, 0), (1, 0), (8, 4)]


@pytest.mark.parametrize(("model", "cost"), [("gpt-5", 0.01125), ("gpt-unknown", None), (None, None)])
def test_a_program_without_costs_is_priced_by_its_model(model: str | None, cost: float | None) -> None:
    pricing = Pricing(PRICES, "gpt-nothing")
    pricing.add_cost(make_event("session", model=model))
    event = pricing.add_cost(AgentEvent("usage", {"input_tokens": 1000, "output_tokens": 1000, "cost_usd": None}))
    assert event.payload["cost_usd"] == cost
    over = find_exhausted_budget(RunLimits(cost_usd=0.01), event.payload)
    assert (over.code if over else None) == ("cost_usd" if cost else None)


def test_a_reported_cost_is_not_estimated_and_the_longest_pattern_counts() -> None:
    event = AgentEvent("usage", {"input_tokens": 10**6, "cost_usd": 0.5})
    assert Pricing(PRICES, "gpt-5").add_cost(event) == event
    assert find_price(PRICES, "claude-sonnet-4-5-20250929") == "3 15 0.3 3.75"
    assert find_price(PRICES, "claude-opus-9") == "5 25 0.5 6.25"
