"""The events of an agent, with texts that are safe to store; their kinds are those of `protocol.py`.

Every program's output is converted to these events by its parser in `workers/agents/`. Nothing else in the
project knows a program's own format. An event's type in the API is `agent.` + kind. The payload is a flat
JSON object whose texts are plain (no terminal control sequences, no lone surrogates) and at most
`MAX_TEXT_BYTES` long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protocol import AgentEventKind
from workers.host.line_splitter import OMISSION_MARK

MAX_TEXT_BYTES = 64 * 1024
MAX_TITLE_LENGTH = 120
REDACTION_MARK = "[redacted]"
_MAX_DEPTH = 24
_CONTROL_PATTERN = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS and other strings with their terminator
    r"|\x1b[ -/]*[0-~]?"  # two-letter escapes and a bare ESC
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # C0 but tab and newline, DEL, C1
)


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """One event of an agent. `payload` is JSON-serialisable, its keys depend on `kind`."""

    kind: AgentEventKind
    payload: Mapping[str, Any]

    def redact_secrets(self, secrets: Iterable[str]) -> AgentEvent:
        """Return the same event with every secret in its texts replaced."""
        ordered_secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)
        return AgentEvent(self.kind, _redact_value(self.payload, ordered_secrets)) if ordered_secrets else self


def make_event(kind: AgentEventKind, /, **payload: object) -> AgentEvent:
    """Make an event with plain texts, marked `truncated` if one was clipped. Fields that are None are left out.

    A message of the agent keeps its end as well as its start, as its verdict is in one of them.
    """
    clippings: list[bool] = []
    clip = clip_middle if kind in ("text", "result") else clip_text
    cleaned = {key: _clean_value(value, clippings, 0, clip) for key, value in payload.items() if value is not None}
    return AgentEvent(kind, {**cleaned, "truncated": True} if clippings else cleaned)


def make_raw_event(line: bytes | str, reason: str) -> AgentEvent:
    """Make an event of a line that no parser understands, unchanged (clipped to `MAX_TEXT_BYTES`)."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    return make_event("raw", line=text, reason=reason)


def strip_controls(text: str) -> str:
    """Remove terminal control sequences from a text and make it encodable as UTF-8."""
    text = _CONTROL_PATTERN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def clip_text(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Return plain text of at most `limit` bytes of UTF-8, clipped between characters."""
    text = strip_controls(text)
    if len(text) * 4 <= limit:
        return text
    return text.encode("utf-8")[:limit].decode("utf-8", "ignore")


def clip_middle(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Return plain text of at most `limit` bytes of UTF-8, without its middle where it is longer."""
    text = strip_controls(text)
    encoded = text.encode("utf-8") if len(text) * 4 > limit else b""
    if len(encoded) <= limit:
        return text
    kept_bytes = (limit - len(OMISSION_MARK)) // 2
    ends = (encoded[:kept_bytes], encoded[-kept_bytes:])
    return OMISSION_MARK.join(end.decode("utf-8", "ignore") for end in ends)


def format_title(text: str) -> str:
    """Return the first non-empty line of a text, at most `MAX_TITLE_LENGTH` long."""
    line = next((line.strip() for line in strip_controls(text[:4096]).splitlines() if line.strip()), "")
    return line if len(line) <= MAX_TITLE_LENGTH else line[: MAX_TITLE_LENGTH - 1] + "…"


def redact_text(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in the text by `REDACTION_MARK`, longest first, and remove what an omission left of one."""
    ordered_secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)
    for secret in ordered_secrets:
        text = text.replace(secret, REDACTION_MARK)
    return _trim_omissions(text, ordered_secrets) if OMISSION_MARK in text else text


def _trim_omissions(text: str, secrets: list[str]) -> str:
    """Remove the start of a secret before each omission, and the end of one after it."""
    first, *rest = text.split(OMISSION_MARK)
    parts = [first]
    for part in rest:
        start = max((measure_overlap(parts[-1], secret) for secret in secrets), default=0)
        end = max((measure_overlap(secret, part) for secret in secrets), default=0)
        parts[-1] = parts[-1][: len(parts[-1]) - start]
        parts.append(part[end:])
    return OMISSION_MARK.join(parts)


def measure_overlap(text: str, following: str) -> int:
    """Return how many characters at the end of `text` are the start of `following`."""
    lengths = range(min(len(text), len(following)), 0, -1)
    return next((length for length in lengths if text.endswith(following[:length])), 0)


def _clean_value(value: object, clippings: list[bool], depth: int, clip: Callable[[str], str]) -> object:
    """Make a JSON value safe to store. `clippings` gets an entry for everything that was shortened."""
    if isinstance(value, str):
        return _clean_text(value, clippings, clip)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict | list | tuple) and depth >= _MAX_DEPTH:
        clippings.append(True)
        return "…"
    if isinstance(value, dict):
        return {clip_text(str(key), 256): _clean_value(item, clippings, depth + 1, clip) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_value(item, clippings, depth + 1, clip) for item in value]
    return value


def _clean_text(text: str, clippings: list[bool], clip: Callable[[str], str]) -> str:
    whole = strip_controls(text)
    clipped = clip(whole)
    if len(clipped) < len(whole):
        clippings.append(True)
    return clipped


def _redact_value(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        return redact_text(value, secrets)
    if isinstance(value, Mapping):
        return {redact_text(str(key), secrets): _redact_value(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(item, secrets) for item in value]
    return value
