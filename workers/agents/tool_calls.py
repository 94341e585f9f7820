"""Readable descriptions of tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from protocol import COORDINATION as COORDINATION
from workers.contract.agent_events import AgentEvent, get_first_line, make_event
from workers.contract.fields import get_text

_TITLE_ARGUMENTS = (
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


def format_call_title(name: str, arguments: Mapping[str, Any]) -> str:
    """Format one line for a call: its most descriptive argument, else the tool's short name."""
    telling = next(filter(None, (get_text(arguments, key) for key in _TITLE_ARGUMENTS)), "")
    return get_first_line(telling or name.rpartition("__")[2] or name)


def make_call_events(call: str, name: str, arguments: Mapping[str, Any], parent: str | None) -> list[AgentEvent]:
    """Make the `tool_call` event, followed by `progress` when the agent reported some to Mission Control."""
    events = [
        make_event(
            "tool_call", call=call, name=name, input=arguments, title=format_call_title(name, arguments), parent=parent
        )
    ]
    if name.endswith("__mc_progress") and COORDINATION in name:
        events.append(make_event("progress", text=get_text(arguments, "text"), parent=parent))
    return events


def make_refusal(tool: str, command: str, arguments: Mapping[str, Any] = MappingProxyType({})) -> AgentEvent:
    """Make the notice of a command that the run's permissions refused, or of another tool with its arguments."""
    refused_call = command or f"{tool}: {format_call_title(tool, arguments)}"
    return make_event(
        "notice", level="warning", text=f"Refused by the run's permissions: {refused_call}", refused=refused_call
    )
