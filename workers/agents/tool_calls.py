"""Tool calls as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.contract.agent_events import Event, event, title
from workers.contract.fields import text

COORDINATION = "mc-coord"
_TELLING = (
    "command",
    "file_path",
    "path",
    "pattern",
    "query",
    "url",
    "summary",
    "text",
    "title",
    "description",
)


def call_title(name: str, given: Mapping[str, Any]) -> str:
    """One line for a call: its most telling argument, else the tool's short name."""
    telling = next(filter(None, (text(given, key) for key in _TELLING)), "")
    return title(telling or name.rpartition("__")[2] or name)


def call_events(call: str, name: str, given: Mapping[str, Any], parent: str | None) -> list[Event]:
    """The `tool_call` event, followed by `progress` when the agent reported some to Mission Control."""
    events = [event("tool_call", call=call, name=name, input=given, title=call_title(name, given), parent=parent)]
    if name.endswith("__mc_progress") and COORDINATION in name:
        events.append(event("progress", text=text(given, "text"), parent=parent))
    return events
