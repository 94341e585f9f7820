"""Events of an agent, with texts that are safe to store. Their kinds are those of `protocol.py`.

Every program's output is converted to these events by its parser in `workers/agents/`. Nothing else in the
project knows a program's own format. An event's type in the API is `agent.` + kind. The payload is a flat
JSON object whose texts are plain (no terminal control sequences, no lone surrogates). A parser cuts nothing:
`clean_event` redacts the run's secrets first, and then cuts each text to `MAX_TEXT_BYTES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from protocol import AgentEventKind
from redaction import Redaction, cut_text, strip_controls

MAX_TEXT_BYTES = 64 * 1024
MAX_KEY_BYTES = 256
MAX_TITLE_LENGTH = 120
_MAX_DEPTH = 24


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """One event of an agent. `payload` is JSON-serialisable, its keys depend on `kind`."""

    kind: AgentEventKind
    payload: Mapping[str, Any]


def make_event(kind: AgentEventKind, /, **payload: object) -> AgentEvent:
    """Make an event with plain texts of any length, marked `truncated` if a value was too deep. Fields that are None are left out."""
    depths: list[bool] = []
    cleaned = {key: _clean_value(value, depths, 0) for key, value in payload.items() if value is not None}
    return AgentEvent(kind, {**cleaned, "truncated": True} if depths else cleaned)


def make_raw_event(line: bytes | str, reason: str) -> AgentEvent:
    """Make an event of a line that no parser understands, unchanged."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    return make_event("raw", line=text, reason=reason)


def clean_event(agent_event: AgentEvent, redaction: Redaction) -> AgentEvent:
    """Redact the secrets in an event, and then cut its texts. It is marked `truncated` if one was cut.

    A message of the agent keeps its end as well as its start, as its verdict is in one of them.
    """
    cuts: list[bool] = []
    is_message = agent_event.kind in ("text", "result")

    def shorten(text: str) -> str:
        shorter = cut_text(text, MAX_TEXT_BYTES, "both" if is_message else "start")
        cuts.extend([True] * (len(shorter) < len(text)))
        return shorter

    payload = _cut_value(redaction.clean_value(agent_event.payload), shorten)
    if isinstance(title := payload.get("title"), str):
        payload["title"] = shorten_line(title)
    return AgentEvent(agent_event.kind, {**payload, "truncated": True} if cuts else payload)


def get_first_line(text: str) -> str:
    """Return the first non-empty line of a text."""
    return next((line.strip() for line in strip_controls(text).splitlines() if line.strip()), "")


def shorten_line(line: str) -> str:
    """Shorten a redacted line to `MAX_TITLE_LENGTH` characters."""
    return line if len(line) <= MAX_TITLE_LENGTH else line[: MAX_TITLE_LENGTH - 1] + "…"


def _clean_value(value: object, depths: list[bool], depth: int) -> object:
    """Make a JSON value safe to store. `depths` gets an entry for everything that was nested too deep."""
    if isinstance(value, str):
        return strip_controls(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict | list | tuple) and depth >= _MAX_DEPTH:
        depths.append(True)
        return "…"
    if isinstance(value, dict):
        return {strip_controls(str(key)): _clean_value(item, depths, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_value(item, depths, depth + 1) for item in value]
    return value


def _cut_value(value: Any, shorten: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, dict):
        return {cut_text(key, MAX_KEY_BYTES): _cut_value(item, shorten) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut_value(item, shorten) for item in value]
    return value
