"""The parser of the output of `codex exec --json`, a conversation without replies for scripts and older versions.

The usage of `turn.completed` counts the whole thread, earlier processes included; the line does not separate
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from protocol import AgentState
from workers.agents.reset_times import find_retry_time
from workers.agents.usage_counter import UsageCounter
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, UnknownLine, get_count, get_object, get_text

from . import items
from .wordings import diagnose

RECONNECTING = re.compile(r"Reconnecting\.\.\. (\d+)/(\d+)(?: \((.*)\))?", re.DOTALL)


class CodexExecStream:
    """The parser of one process's output."""

    def __init__(self) -> None:
        self.state: AgentState = "starting"
        self.failed = False
        self._counter = UsageCounter()
        self._said = ""
        self._readers: dict[str, Callable[[Fields], list[AgentEvent]]] = {
            "thread.started": self._read_thread,
            "turn.started": lambda _: self._change_state("running"),
            "turn.completed": self._read_turn_end,
            "turn.failed": self._read_turn_failure,
            "item.started": lambda line: items.make_start_events(convert_item(get_object(line, "item")), None),
            "item.updated": lambda line: items.make_update_events(convert_item(get_object(line, "item"))),
            "item.completed": self._read_item,
            "error": self._read_error,
        }

    def read(self, message: Fields) -> list[AgentEvent]:
        """Parse one decoded line into events. `UnknownLine` for an unknown type."""
        kind = get_text(message, "type")
        reader = self._readers.get(kind)
        if reader is None:
            raise UnknownLine(f"unknown type {kind!r}")
        return reader(message)

    def _read_thread(self, message: Fields) -> list[AgentEvent]:
        return [make_event("session", conversation_id=get_text(message, "thread_id"), program="codex")]

    def _read_item(self, message: Fields) -> list[AgentEvent]:
        item = convert_item(get_object(message, "item"))
        if get_text(item, "type") == "agentMessage":
            self._said = get_text(item, "text")
        return items.make_end_events(item, None)

    def _read_turn_end(self, message: Fields) -> list[AgentEvent]:
        usage, counter = get_object(message, "usage"), self._counter
        counter.cache_read_tokens = get_count(usage, "cached_input_tokens")
        counter.cache_write_tokens = get_count(usage, "cache_write_input_tokens")
        cached = counter.cache_read_tokens + counter.cache_write_tokens
        counter.input_tokens = max(0, get_count(usage, "input_tokens") - cached)
        counter.output_tokens = get_count(usage, "output_tokens")
        counter.turns += 1
        ended = make_event("result", ok=True, text=self._said, stop_reason="completed")
        return [counter.make_event(), ended, *self._change_state("idle")]

    def _read_turn_failure(self, message: Fields) -> list[AgentEvent]:
        self.failed = True
        error_text = get_text(get_object(message, "error"), "message")
        failure = diagnose(error_text)
        retry_at = find_retry_time(failure, error_text)
        ended = make_event("result", ok=False, text=error_text, failure=failure, retry_at=retry_at)
        return [ended, *self._change_state("idle")]

    def _read_error(self, message: Fields) -> list[AgentEvent]:
        error_text = get_text(message, "message")
        again = RECONNECTING.match(error_text)
        if again is None:
            failure = diagnose(error_text)
            retry_at = find_retry_time(failure, error_text)
            return [make_event("error", failure=failure, message=error_text, retry_at=retry_at)]
        attempt, limit, reason = int(again[1]), int(again[2]), again[3] or error_text
        retry = make_event(
            "retry", attempt=attempt, limit=limit, delay_seconds=0, failure=diagnose(reason), message=reason
        )
        return [retry]

    def _change_state(self, state: AgentState) -> list[AgentEvent]:
        if state == self.state:
            return []
        self.state = state
        return [make_event("state", state=state)]


def convert_item(item: Fields) -> Fields:
    """Convert an item to the names of the app-server, for example `command_execution` to `commandExecution`."""
    converted = {_to_camel_case(key): value for key, value in item.items()}
    return {**converted, "type": _to_camel_case(get_text(item, "type"))}


def _to_camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
