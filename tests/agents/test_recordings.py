"""Everything the programs were seen to print is understood, and counted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol import AGENT_EVENT_KINDS, FAILURES
from workers.agents.claude.stream import SILENT_SUBTYPES as CLAUDE_QUIET

from .recordings import NAMES, events, lines, reader, replay

Usage = tuple[int, int, float | None, int]

# Recording -> (input tokens, output tokens, US dollars, turns) of the process, and how each of its turns ended.
EXPECTED: dict[str, tuple[Usage | None, list[str | None]]] = {
    "claude-2.1.197-basic": ((200, 40, 0.0012, 2), ["completed"]),
    "claude-basic-acceptedits": ((200, 40, 0.0012, 2), ["completed"]),
    "claude-basic-default-perm": ((200, 40, 0.0012, 2), ["completed"]),
    "claude-bg-bash": ((300, 60, 0.0018, 3), ["completed", "completed"]),
    "claude-control-protocol.both": (
        (1000, 200, 0.004, 12),
        ["completed", "completed", "interrupted", "completed", "completed", "completed", "completed"],
    ),
    "claude-edit-tools": ((400, 80, 0.0024, 4), ["completed"]),
    "claude-err-401": ((0, 0, None, 1), ["authentication"]),
    "claude-err-429-r2": ((0, 0, None, 1), ["rate_limit"]),
    "claude-err-500-r2": ((0, 0, None, 1), ["server_error"]),
    "claude-err-drop": ((300, 24, 0.00126, 1), ["completed"]),
    "claude-err-refused-r1": ((0, 0, None, 1), ["network"]),
    "claude-interrupt-and-steer.both": (
        (900, 180, 0.0054, 13),
        [
            "interrupted",
            "completed",
            "interrupted",
            "completed",
            "interrupted",
            "completed",
            None,
            None,
            None,
            "completed",
        ],
    ),
    "claude-maxturns": ((200, 40, 0.0012, 3), ["budget"]),
    "claude-mcp": ((200, 40, 0.0012, 2), ["completed"]),
    "claude-partial": ((200, 40, 0.0012, 2), ["completed"]),
    "claude-resume": ((200, 40, 0.0012, 2), ["completed"]),
    "claude-resume-missing": ((0, 0, None, 0), ["environment"]),
    "claude-session-state.both": ((500, 100, 0.003, 7), ["completed", "completed", "interrupted"]),
    "claude-sigint-tool": ((100, 20, 0.0006, 3), ["interrupted"]),
    "claude-sigterm-tool": (None, []),
    "claude-streamin-multiturn.both": ((500, 100, 0.003, 5), ["completed"] * 4),
    "claude-subagent": ((500, 100, 0.003, 3), ["completed", "completed"]),
    "codex-apply-patch": ((200, 40, None, 1), ["completed"]),
    "codex-appserver": (
        (1300, 260, None, 9),
        [*["completed"] * 5, "interrupted", "interrupted", "server_error", "completed"],
    ),
    "codex-appserver-hooks": (None, []),
    "codex-appserver-unix-ws": ((600, 120, None, 4), ["completed"] * 4),
    "codex-basic2": ((200, 40, None, 1), ["completed"]),
    "codex-danger": ((300, 60, None, 1), ["completed"]),
    "codex-err-401": (None, ["authentication"]),
    "codex-err-429": (None, ["rate_limit"]),
    "codex-err-500": (None, ["server_error"]),
    "codex-err-drop": (None, ["network"]),
    "codex-mcp": ((200, 40, None, 1), ["completed"]),
    "codex-readonly2": ((300, 60, None, 1), ["completed"]),
    "codex-resume": ((400, 80, None, 1), ["completed"]),
    "codex-sigint-think": (None, []),
}
# Replies to requests of the recorded client that Mission Control never makes.
FOREIGN_REPLIES = {"codex-appserver": 6, "codex-appserver-hooks": 2}


def test_every_recording_has_its_figures() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_understood_and_its_tokens_are_counted_once(name: str, tmp_path: Path) -> None:
    event_list = events(name, tmp_path)
    usage, ends = EXPECTED[name]
    last = next((event.payload for event in reversed(event_list) if event.kind == "usage"), None)
    totals = last and tuple(last[key] for key in ("input_tokens", "output_tokens", "cost_usd", "turns"))
    assert totals == usage
    results = [event.payload for event in event_list if event.kind == "result"]
    assert [result.get("failure") or result.get("stop_reason") for result in results] == ends
    raw = [event.payload["reason"] for event in event_list if event.kind == "raw"]
    assert raw == ["a reply to nothing"] * FOREIGN_REPLIES.get(name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_events_keep_to_the_vocabulary(name: str, tmp_path: Path) -> None:
    for event in events(name, tmp_path):
        assert event.kind in AGENT_EVENT_KINDS
        assert event.payload.get("failure", "crash") in FAILURES
        assert not event.payload.get("truncated")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("claude")])
def test_a_line_without_an_event_is_one_that_repeats_another(name: str, tmp_path: Path) -> None:
    quiet_subtypes = {"init", "session_state_changed", *CLAUDE_QUIET}
    agent = reader(name, tmp_path)
    for line in lines(name):
        if not agent.parse(line):
            assert (
                b'"stream_event"' in line
                or b'"control_response"' in line
                or b'"command_lifecycle"' in line
                or any(f'"subtype":"{subtype}"' in line.decode().replace('": "', '":"') for subtype in quiet_subtypes)
            ), line


def test_a_sub_agents_events_name_the_call_that_started_it(tmp_path: Path) -> None:
    event_list = events("claude-subagent", tmp_path)
    call = next(event.payload["call"] for event in event_list if event.kind == "tool_call")
    below = [event.kind for event in event_list if event.payload.get("parent") == call]
    assert below == ["task", "tool_call", "task", "tool_result", "text", "task"]


def test_a_call_and_its_result_are_a_pair(tmp_path: Path) -> None:
    for name in NAMES:
        event_list = events(name, tmp_path)
        calls = [event.payload["call"] for event in event_list if event.kind == "tool_call"]
        result_calls = [event.payload["call"] for event in event_list if event.kind == "tool_result"]
        assert set(result_calls) <= set(calls), name
        assert len(calls) == len(set(calls)), name


def test_a_question_becomes_choices_and_an_interrupt_withdraws_what_waits(tmp_path: Path) -> None:
    event_list = events("claude-session-state.both", tmp_path)
    question = next(event.payload for event in event_list if event.kind == "question")
    choices = [{"label": "A", "detail": "a"}, {"label": "B", "detail": "b"}]
    assert question["questions"] == [{"text": "Which?", "header": "Pick", "choices": choices, "multiple": False}]
    approvals = [event.payload["request"] for event in event_list if event.kind == "approval"]
    assert [event.payload["request"] for event in event_list if event.kind == "withdrawn"] == approvals[1:]


def test_receipts_of_a_message_never_go_back(tmp_path: Path) -> None:
    order = ["queued", "delivered", "accepted", "cancelled"]
    reached: dict[str, int] = {}
    for event in events("claude-interrupt-and-steer.both", tmp_path):
        if event.kind == "receipt":
            state = order.index(event.payload["state"])
            assert state > reached.get(event.payload["uuid"], -1)
            reached[event.payload["uuid"]] = state
    assert len(reached) == 11


def test_an_approval_of_codex_shows_the_command_and_its_reason(tmp_path: Path) -> None:
    approvals = [event.payload for event in events("codex-appserver", tmp_path) if event.kind == "approval"]
    assert "echo esc > /etc/mc-probe-nope-x" in approvals[0]["title"]
    assert approvals[0]["reason"] == "probe"
    assert approvals[-1]["tool"] == "note"


@pytest.mark.parametrize("name", ["claude-session-state.both", "codex-appserver"])
def test_an_answer_counts_once(name: str, tmp_path: Path) -> None:
    agent = reader(name, tmp_path)
    request = next(event.payload["request"] for event in replay(agent, name) if event.kind == "approval")
    answer = {"request": request, "behavior": "allow"}
    assert agent.answer(answer) != []
    assert agent.answer(answer) == []
