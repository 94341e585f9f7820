"""The words themselves: plain texts, redaction, classes of failure and the thinning of deltas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import Failure
from protocol import FAILURES, AgentEventKind
from redaction import OMISSION_MARK, SHAPES, Redaction, cut_text, strip_controls
from tickets.runs.retry_policy import CONSEQUENCES, RetryAction
from workers.agents import load_descriptor
from workers.agents.deltas import DeltaThrottle
from workers.agents.error_classifier import classify_error, explain_exit
from workers.agents.reset_times import bound_reset_time, find_retry_time, parse_reset_time
from workers.agents.tool_calls import format_call_title
from workers.contract.agent_events import (
    MAX_TEXT_BYTES,
    AgentEvent,
    clean_event,
    get_first_line,
    make_event,
    make_raw_event,
    shorten_line,
)

NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bplain\x1b=", "plain"),
        ("10%\r50%\r\ndone\x00\x08", "10%\n50%\ndone"),
        ("\x9b31mC1\x7f", "31mC1"),
        ("half a pair \ud83d!", "half a pair ?!"),
        ("tab\tand ünïcode 🙂", "tab\tand ünïcode 🙂"),
    ],
)
def test_plain_text_has_no_terminal_control(given_text: str, expected: str) -> None:
    assert strip_controls(given_text) == expected


@given(st.text(), st.integers(1, 50))
def test_a_clipped_text_fits_and_is_a_beginning(text: str, limit: int) -> None:
    short_text = cut_text(strip_controls(text), limit)
    assert len(short_text.encode()) <= limit
    assert strip_controls(text).startswith(short_text)


def clean(kind: AgentEventKind, **payload: object) -> dict[str, object]:
    """Return the payload of an event as it is stored."""
    return dict(clean_event(make_event(kind, **payload), SHAPES).payload)


def test_only_a_text_that_was_cut_is_marked() -> None:
    assert clean("text", text="\x1b[1m" + "x" * MAX_TEXT_BYTES) == {"text": "x" * MAX_TEXT_BYTES}
    assert clean("notice", text="x" * (MAX_TEXT_BYTES + 1)) == {"text": "x" * MAX_TEXT_BYTES, "truncated": True}
    assert clean("text", text="a", parent=None) == {"text": "a"}


@pytest.mark.parametrize("kind", ["text", "result"])
def test_a_long_message_keeps_its_start_and_its_end(kind: AgentEventKind) -> None:
    """Regression: a verdict at the end of a long message was cut off."""
    payload = clean(kind, text="I begin. " + "é" * MAX_TEXT_BYTES + "\nDONE: it works")
    text = str(payload["text"])
    assert text.startswith("I begin. é") and text.endswith("é\nDONE: it works")
    assert OMISSION_MARK in text and len(text.encode()) <= MAX_TEXT_BYTES
    assert payload["truncated"] is True


def test_values_that_json_lacks_become_null_and_deep_ones_are_cut() -> None:
    assert make_event("tool_call", input={"a": float("nan"), "b": float("inf")}).payload["input"] == {
        "a": None,
        "b": None,
    }
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    assert make_event("tool_call", input=deep).payload["truncated"] is True


def test_a_line_that_nobody_understands_is_kept() -> None:
    assert make_raw_event(b"\xff{oops", "not JSON") == AgentEvent("raw", {"line": "\ufffd{oops", "reason": "not JSON"})


def test_a_title_is_one_short_line() -> None:
    assert get_first_line("\n\n  first line \nsecond") == "first line"
    assert len(shorten_line("x" * 500)) == 120
    assert format_call_title("mcp__mc-coord__mc_progress", {"text": "half way"}) == "half way"
    assert format_call_title("mcp__mc-coord__mc_get_ticket", {}) == "mc_get_ticket"


def test_workers_and_board_speak_of_the_same_failures_and_each_has_one_consequence() -> None:
    values = {failure.value for failure in Failure}
    assert set(FAILURES) == values == {failure.value for failure in CONSEQUENCES}
    assert all(meaning.endswith(".") for meaning in FAILURES.values())


def test_faults_of_the_surroundings_use_up_no_attempt() -> None:
    retried = {failure for failure, rule in CONSEQUENCES.items() if rule.then is RetryAction.RETRY}
    assert retried.isdisjoint(
        {Failure.RATE_LIMIT, Failure.USAGE_LIMIT, Failure.SERVER_ERROR, Failure.NETWORK, Failure.KILLED}
    )
    assert {Failure.PROTOCOL_VIOLATION, Failure.CHECK_FAILED, Failure.AGENT_FAILED, Failure.TIMEOUT} <= retried


@pytest.mark.parametrize(
    ("program", "text", "status", "failure"),
    [
        ("claude", "You've hit your 5-hour limit · resets 1:16pm (UTC)", 429, "usage_limit"),
        ("claude", "Claude AI usage limit reached|1795260000", None, "usage_limit"),
        ("claude", "API Error: Request rejected (429) · slow down", 429, "rate_limit"),
        ("claude", "Failed to authenticate. API Error: 401 no", None, "authentication"),
        ("claude", "Invalid API key · Please run /login", None, "authentication"),
        ("claude", "API Error: 529 overloaded", None, "server_error"),
        ("claude", "Prompt is too long", 400, "context_overflow"),
        ("claude", "API Error: Connection refused (ECONNREFUSED)", None, "network"),
        ("claude", "model: claude-nope was not found", 404, "environment"),
        ("claude", "No conversation found with session ID: 1", None, "environment"),
        ("claude", "Credit balance is too low", 400, "usage_limit"),
        ("claude", "You've hit your session limit · resets 3pm · progress saved", 429, "usage_limit"),
        ("claude", "You've hit your weekly limit · resets Nov 25, 3pm (UTC)", 429, "usage_limit"),
        ("claude", "You've hit your Opus limit · resets Nov 25, 3pm", 429, "usage_limit"),
        ("claude", "You've reached your Fable limit · resets Nov 25, 3pm", 429, "usage_limit"),
        ("claude", "You've hit your org's monthly usage limit", 429, "usage_limit"),
        ("claude", "You've hit your individual spend limit", 429, "usage_limit"),
        ("claude", "You've hit your monthly spend limit", 429, "usage_limit"),
        ("claude", "spend limit reached · resets Dec 8 · request an increase", 429, "usage_limit"),
        ("claude", "You're out of usage credits · resets 3pm", 429, "usage_limit"),
        ("claude", "You're out of extra usage · resets 3pm (UTC)", 429, "usage_limit"),
        ("claude", "Your org is out of usage · contact your admin", 429, "usage_limit"),
        ("claude", "Your organization is out of usage credits. Contact your admin to add more.", 429, "usage_limit"),
        ("claude", "Fable 5 requires usage credits", 429, "usage_limit"),
        ("claude", "Your seat type doesn't include usage credits", 429, "usage_limit"),
        ("claude", "Your usage allocation has been disabled by your admin", 429, "usage_limit"),
        ("claude", "Your group's usage limit is set to $0", 429, "usage_limit"),
        ("claude", "Usage is paused for your organization. For help, please contact support.", 429, "usage_limit"),
        ("claude", "This service is disabled for your org", 429, "usage_limit"),
        (
            "claude",
            "This request would exceed your organization's rate limit of 30,000 input tokens per minute",
            429,
            "rate_limit",
        ),
        ("claude", "Number of request tokens has exceeded your per-minute rate limit", 429, "rate_limit"),
        ("codex", "You've hit your usage limit. Upgrade your billing plan", 429, "usage_limit"),
        ("codex", "You've hit your usage limit for gpt-5-codex. Switch to another model now,", None, "usage_limit"),
        ("codex", "Your workspace is out of credits. Add credits to continue.", None, "usage_limit"),
        ("codex", "You hit your spend cap set by the owner of your workspace.", None, "usage_limit"),
        ("codex", "Quota exceeded. Check your plan and billing details.", None, "usage_limit"),
        ("codex", "You exceeded your current quota, please check your plan and billing details.", 429, "usage_limit"),
        (
            "codex",
            "Rate limit reached for gpt-5 in organization org-1 on tokens per min (TPM): Limit 30000, Used 22999,"
            " Requested 12528. Please try again in 14.036s.",
            None,
            "rate_limit",
        ),
        ("codex", "Selected model is at capacity. Please try a different model.", None, "server_error"),
        ("codex", "We're currently experiencing high demand, which may cause temporary errors.", None, "server_error"),
        ("codex", "exceeded retry limit, last status: 429 Too Many Requests", None, "rate_limit"),
        ("codex", "Codex ran out of room in the model's context window", None, "context_overflow"),
        ("codex", "no rollout found for thread id 1", None, "environment"),
        ("codex", "stream disconnected before completion", None, "network"),
        ("script", "something else altogether", None, "agent_failed"),
    ],
)
def test_what_a_service_says_has_a_class(program: str, text: str, status: int | None, failure: str) -> None:
    assert classify_error(text, status, load_descriptor(program).wordings) == failure


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("limit reached|1795260000", "2026-11-21T11:20:00Z"),
        ("try again in 3 days 2 hours 5 minutes.", "2026-11-24T12:35:00Z"),
        ("resets 3pm (Europe/Berlin)", "2026-11-21T14:00:00Z"),
        ("resets 9am (UTC)", "2026-11-22T09:00:00Z"),
        ("resets Nov 25, 9am (UTC)", "2026-11-25T09:00:00Z"),
        ("weekly limit · resets Jan 5, 9am (UTC)", "2026-11-28T10:30:00Z"),  # at most a week
        ("monthly limit · resets Dec 5, 9am (UTC)", "2026-12-05T09:00:00Z"),
        ("weekly limit · resets Nov 20, 9am (UTC)", "2026-11-20T09:00:00Z"),  # it has passed
        ("session limit · resets 1pm (UTC)", "2026-11-21T13:00:00Z"),
        ("session limit · resets 10am (UTC)", "2026-11-21T10:00:00Z"),  # it has passed
        ("session limit · resets 9:05pm (Asia/Tokyo)", "2026-11-21T12:05:00Z"),
        ("spend limit reached · resets Dec 8 · request an increase", "2026-12-08T00:00:00Z"),
        ("resets at 14:30 UTC", "2026-11-21T14:30:00Z"),
        ("available at 2026-11-22T09:30:00+02:00", "2026-11-22T07:30:00Z"),
        ("Please try again in 14.036s.", "2026-11-21T10:30:14Z"),
        ("Please try again in 6m0s.", "2026-11-21T10:36:00Z"),
        ("try again in 500ms", "2026-11-21T10:30:00Z"),
        ("try again in 1 hour and 5 minutes", "2026-11-21T11:35:00Z"),
        ("session limit|1799999999", "2026-11-21T15:30:00Z"),  # at most five hours
        ("or try again at 1:16 PM.", "2026-11-21T13:16:00Z"),
        ("or try again at Nov 25th, 2026 9:30 AM.", "2026-11-25T09:30:00Z"),
        ("resets 12am (UTC)", "2026-11-22T00:00:00Z"),
        ("resets 3pm (Nowhere/Atlantis)", None),
        ("resets Feb 31, 9am", None),
        ("later", None),
    ],
)
def test_the_end_of_a_limit_is_read_from_words(text: str, at: str | None) -> None:
    assert parse_reset_time(text, NOW) == at


def test_a_reported_reset_is_bounded_by_the_window_and_only_limits_have_one() -> None:
    assert bound_reset_time("2027-11-21T10:30:00Z", "five hour", NOW) == "2026-11-21T15:30:00Z"
    assert bound_reset_time("2026-11-23T10:30:00Z", "seven day opus", NOW) == "2026-11-23T10:30:00Z"
    assert find_retry_time("usage_limit", "resets 3pm (UTC)", "2026-11-21T12:00:00Z", NOW) == "2026-11-21T12:00:00Z"
    assert find_retry_time("rate_limit", "try again in 14.9s", "2026-11-21T12:00:00Z", NOW) == "2026-11-21T10:30:14Z"
    assert find_retry_time("server_error", "try again in 14.9s", None, NOW) is None


def test_a_clock_time_without_a_zone_is_the_machines_own() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=2)))
    assert parse_reset_time("try again at 3:00 PM", east) == "2026-11-21T13:00:00Z"
    summer = datetime(2026, 7, 1, 12, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert parse_reset_time("resets 3pm (Europe/London)", summer) == "2026-07-01T14:00:00Z"


def test_an_end_without_words_is_explained() -> None:
    assert explain_exit(0, "warnings") is None
    killed = explain_exit(-9, "")
    assert killed is not None and killed.payload["failure"] == "killed"
    crash = explain_exit(3, "")
    assert crash is not None and crash.payload["failure"] == "crash"
    refusal = "--dangerously-skip-permissions cannot be used with root/sudo privileges\n"
    root = explain_exit(1, refusal, load_descriptor("claude").wordings)
    assert root is not None and root.payload["failure"] == "environment"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_deltas_come_at_most_four_times_a_second_and_lose_nothing() -> None:
    clock = Clock()
    deltas = DeltaThrottle((), clock)
    events = []
    for letter in "abcdefghij":
        events += deltas.add("b", "text", letter)
        clock.now += 0.1
    assert [(delta.payload["offset"], delta.payload["text"]) for delta in events] == [
        (0, "a"),
        (1, "bcd"),
        (4, "efg"),
        (7, "hij"),
    ]


@given(st.lists(st.sampled_from(["s", "se", "sec", "secret", "ret", "ecr", " x ", "t"]), max_size=12))
def test_a_secret_cut_across_deltas_never_shows(pieces: list[str]) -> None:
    clock = Clock()
    deltas = DeltaThrottle(("secret",), clock)
    visible = ""
    for piece in pieces:
        for delta in deltas.add("b", "text", piece):
            assert delta.payload["offset"] == len(visible)
            visible += delta.payload["text"]
        clock.now += 1
    assert "secret" not in visible
    assert Redaction(["secret"]).clean_text("".join(pieces)).startswith(visible)
