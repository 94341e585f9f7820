"""Whatever a program prints, its reader neither falls over nor loses it nor says what nobody can store."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import AGENT_EVENT_KINDS
from redaction import SHAPES
from workers.contract.agent import AgentAdapter
from workers.contract.agent_events import MAX_TEXT_BYTES, AgentEvent, clean_event, make_raw_event
from workers.contract.fields import Fields, parse_line

from .recordings import NAMES, lines, reader

PROGRAMS = ("claude-partial", "codex-appserver", "codex-danger")
POOL = {
    program: [line for name in NAMES if name.startswith(program) for line in lines(name)]
    for program in ("claude", "codex")
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def build_agent(program: str) -> AgentAdapter:
    with tempfile.TemporaryDirectory() as folder:
        agent = reader(program, Path(folder))
    agent.open("the prompt")
    return agent


def clean_events(events: list[AgentEvent]) -> list[AgentEvent]:
    return [clean_event(event, SHAPES) for event in events]


def check_events(events: list[AgentEvent]) -> None:
    for event in clean_events(events):
        assert event.kind in AGENT_EVENT_KINDS
        json.dumps(event.payload, allow_nan=False, ensure_ascii=False).encode("utf-8")
        for value in event.payload.values():
            assert not isinstance(value, str) or len(value.encode()) <= MAX_TEXT_BYTES


@pytest.mark.parametrize("program", PROGRAMS)
@given(line=st.binary(max_size=400))
def test_any_bytes_are_kept(program: str, line: bytes) -> None:
    events = build_agent(program).parse(line)
    check_events(events)
    assert events or not line.strip()


@pytest.mark.parametrize("program", PROGRAMS)
@given(data=st.data())
def test_a_cut_or_merged_line_is_kept_as_raw(program: str, data: st.DataObject) -> None:
    first, second = (data.draw(st.sampled_from(POOL[program.split("-")[0]])) for _ in range(2))
    beginning = first[: data.draw(st.integers(1, len(first) - 1))]
    agent = build_agent(program)
    for line in (beginning, first + second, first[len(beginning) :], beginning + second):
        events = agent.parse(line)
        check_events(events)
        assert [event.kind for event in events] == ["raw"]


@pytest.mark.parametrize("program", PROGRAMS)
@given(data=st.data())
def test_flipped_bytes_change_at_most_their_own_line(program: str, data: st.DataObject) -> None:
    agent = build_agent(program)
    for line in data.draw(st.lists(st.sampled_from(POOL[program.split("-")[0]]), min_size=1, max_size=4)):
        garbled = bytearray(line)
        for place in data.draw(st.lists(st.integers(0, len(line) - 1), max_size=5)):
            garbled[place] = data.draw(st.integers(0, 255))
        check_events(agent.parse(bytes(garbled)))
    assert agent.state in ("starting", "running", "waiting", "idle")


@pytest.mark.parametrize("program", PROGRAMS)
@given(data=st.data())
def test_fields_of_another_type_are_survived(program: str, data: st.DataObject) -> None:
    agent = build_agent(program)
    message = json.loads(data.draw(st.sampled_from(POOL[program.split("-")[0]])))
    for _ in range(data.draw(st.integers(1, 3))):
        _replace(message, data)
    check_events(agent.parse(json.dumps(message).encode()))
    agent.take_replies()
    check_events(agent.parse(json.dumps(message).encode()))


@pytest.mark.parametrize("program", PROGRAMS)
@given(answer=st.dictionaries(st.sampled_from(["request", "behavior", "answers", "scope", "message"]), json_values))
def test_a_senseless_answer_is_no_answer(program: str, answer: dict[str, Any]) -> None:
    assert build_agent(program).answer(answer) == []


@pytest.mark.parametrize("program", ["claude", "codex"])
def test_huge_and_deep_lines_are_cut_and_marked(program: str) -> None:
    agent = build_agent(f"{program}-")
    huge = b"x" * (3 << 20)
    assert clean_events(agent.parse(huge))[0].payload["truncated"] is True
    content = [{"type": "text", "text": "é" * (1 << 20)}]
    message = {"type": "assistant", "message": {"id": "m", "content": content}}
    item = {"type": "item.completed", "item": {"type": "agent_message", "id": "m", "text": "é" * (1 << 20)}}
    events = agent.parse(json.dumps(message if program == "claude" else item).encode())
    check_events(events)
    assert clean_events(events)[-1].payload["truncated"] is True
    check_events(agent.parse(b"[" * 100_000))
    check_events(agent.parse(b'{"type":' * 2000 + b"1" + b"}" * 2000))
    check_events(agent.parse(b'{"type": "assistant", "n": ' + b"9" * 10_000 + b"}"))


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        ("plain words", ["text"]),
        ([{"type": "hologram", "n": 1}, {"type": "text", "text": "plain words"}], ["raw", "text"]),
        ([{"type": "text", "text": "plain words"}, {"type": "hologram"}], ["text", "raw"]),
    ],
)
def test_a_text_is_text_whatever_stands_beside_it(content: object, kinds: list[str]) -> None:
    """Regression: one unknown block made the whole line unreadable, and a plain string was not shown."""
    message = {"type": "assistant", "message": {"id": "m", "content": content}}
    events = build_agent("claude-").parse(json.dumps(message).encode())
    assert [event.kind for event in events] == kinds
    assert [event.payload["text"] for event in events if event.kind == "text"] == ["plain words"]


def test_half_a_surrogate_pair_can_be_stored() -> None:
    content = r'{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"a \ud83d b"}]}}'
    events = build_agent("claude-").parse(content.encode())
    check_events(events)
    assert events[-1].payload["text"] == "a ? b"


def test_a_reader_that_fails_keeps_the_line() -> None:
    def fail(message: Fields) -> list[AgentEvent]:
        raise ZeroDivisionError

    assert parse_line(b'{"type":"new"}', fail) == [make_raw_event(b'{"type":"new"}', "unreadable: ZeroDivisionError")]


def _replace(value: Any, data: st.DataObject) -> None:
    """Put a random value somewhere into a message."""
    while isinstance(value, dict | list) and value:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        place = data.draw(st.sampled_from(places))
        if not isinstance(value[place], dict | list) or not value[place] or data.draw(st.booleans()):
            value[place] = data.draw(json_values)
            return
        value = value[place]
