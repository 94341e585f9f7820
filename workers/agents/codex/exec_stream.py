"""Reads what `codex exec --json` prints: one conversation without a way to answer, for scripts and older versions.

The usage of `turn.completed` counts the whole thread, earlier processes included; the line does not tell them
apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from workers.agents.error_classifier import diagnose, reset_time
from workers.agents.usage_counter import Tally
from workers.contract.agent import State
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, UnknownLine, count, table, text

from . import items

RECONNECTING = re.compile(r"Reconnecting\.\.\. (\d+)/(\d+)(?: \((.*)\))?", re.DOTALL)


class CodexExec:
    """One process's output."""

    def __init__(self) -> None:
        self.state: State = "starting"
        self.failed = False
        self._tally = Tally()
        self._said = ""
        self._readers: dict[str, Callable[[Fields], list[Event]]] = {
            "thread.started": self._thread,
            "turn.started": lambda _: self._moved("running"),
            "turn.completed": self._completed,
            "turn.failed": self._failed,
            "item.started": lambda line: items.started(modern(table(line, "item")), None),
            "item.updated": lambda _: [],
            "item.completed": self._item,
            "error": self._error,
        }

    def read(self, message: Fields) -> list[Event]:
        """The events of one decoded line; raises `UnknownLine` for a type that is not known."""
        kind = text(message, "type")
        reader = self._readers.get(kind)
        if reader is None:
            raise UnknownLine(f"unknown type {kind!r}")
        return reader(message)

    def _thread(self, message: Fields) -> list[Event]:
        return [event("session", conversation_id=text(message, "thread_id"), program="codex")]

    def _item(self, message: Fields) -> list[Event]:
        item = modern(table(message, "item"))
        if text(item, "type") == "agentMessage":
            self._said = text(item, "text")
        return items.completed(item, None)

    def _completed(self, message: Fields) -> list[Event]:
        used, tally = table(message, "usage"), self._tally
        tally.cache_read_tokens = count(used, "cached_input_tokens")
        tally.cache_write_tokens = count(used, "cache_write_input_tokens")
        cached = tally.cache_read_tokens + tally.cache_write_tokens
        tally.input_tokens = max(0, count(used, "input_tokens") - cached)
        tally.output_tokens = count(used, "output_tokens")
        tally.turns += 1
        ended = event("result", ok=True, text=self._said, stop_reason="completed")
        return [tally.event(), ended, *self._moved("idle")]

    def _failed(self, message: Fields) -> list[Event]:
        self.failed = True
        said = text(table(message, "error"), "message")
        ended = event("result", ok=False, text=said, failure=diagnose(said), retry_at=reset_time(said))
        return [ended, *self._moved("idle")]

    def _error(self, message: Fields) -> list[Event]:
        said = text(message, "message")
        again = RECONNECTING.match(said)
        if again is None:
            return [event("error", failure=diagnose(said), message=said, retry_at=reset_time(said))]
        attempt, limit, reason = int(again[1]), int(again[2]), again[3] or said
        retry = event("retry", attempt=attempt, limit=limit, delay_seconds=0, failure=diagnose(reason), message=reason)
        return [retry]

    def _moved(self, state: State) -> list[Event]:
        if state == self.state:
            return []
        self.state = state
        return [event("state", state=state)]


def modern(item: Fields) -> Fields:
    """An item with the names of the app-server: `command_execution` is `commandExecution` there."""
    named = {_camel(key): value for key, value in item.items()}
    return {**named, "type": _camel(text(item, "type"))}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
