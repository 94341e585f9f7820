"""Typed access to decoded JSON, in which a field of an unexpected type counts as absent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .agent_events import AgentEvent, make_raw_event

Fields = Mapping[str, Any]
_MAX_NUMBER = 2**53


class UnknownLine(Exception):
    """The program printed a kind of line that its parser does not know."""


def get_text(fields: Fields, key: str) -> str:
    """Return the string at `key`, else an empty one."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def get_count(fields: Fields, key: str) -> int:
    """Return the non-negative integer at `key`, else 0."""
    value = fields.get(key)
    return value if type(value) is int and 0 <= value <= _MAX_NUMBER else 0


def get_amount(fields: Fields, key: str) -> float:
    """Return the non-negative finite number at `key`, else 0."""
    value = fields.get(key)
    return float(value) if isinstance(value, int | float) and 0 <= value <= _MAX_NUMBER else 0.0


def get_object(fields: Fields, key: str) -> Fields:
    """Return the object at `key`, else an empty one."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def get_objects(fields: Fields, key: str) -> list[Fields]:
    """Return the objects in the array at `key`."""
    value = fields.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def parse_line(line: bytes, read: Callable[[Fields], list[AgentEvent]]) -> list[AgentEvent]:
    """Parse a line of JSON into events with `read`. A line that cannot be parsed becomes `raw`."""
    if not line.strip():
        return []
    try:
        message = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return [make_raw_event(line, "not JSON")]
    if not isinstance(message, dict):
        return [make_raw_event(line, "not an object")]
    try:
        return read(message)
    except UnknownLine as unknown:
        return [make_raw_event(line, str(unknown))]
    except Exception as error:  # a new version of the program must never end a run
        return [make_raw_event(line, f"unreadable: {type(error).__name__}")]


def parse_object(line: bytes) -> Fields:
    """Parse a line into an object, else an empty one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def format_line(message: Fields) -> bytes:
    """Encode a message as one line for the program's stdin."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
