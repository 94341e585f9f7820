"""Claude Code's plan mode: the settings that keep it, and the permission updates with which an approved plan ends it.

The mode itself refuses edits, but a rule or a sandbox that allows commands holds in it too, so a planning run has neither
until its plan is approved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol import Permissions
from workers.agents.tool_calls import COORDINATION
from workers.agents.tool_requests import PlanExit

MODE = "plan"
_READING = (f"mcp__{COORDINATION}", "Read(")
"""Prefixes of the rules that allow nothing that writes."""


def restrict_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without the rules that would let a planning agent change something."""
    permissions = settings.get("permissions", {})
    rules = [rule for rule in permissions.get("allow", []) if rule.startswith(_READING)]
    restricted = {**settings, "permissions": {**permissions, "allow": rules}}
    if "sandbox" in settings:
        restricted["sandbox"] = {**settings["sandbox"], "autoAllowBashIfSandboxed": False}
    return restricted


def build_exit(settings: Mapping[str, Any], permissions: Permissions) -> PlanExit:
    """Build the updates that give a run its own mode and rules once its plan is approved.

    The mode that bypasses all permissions cannot be entered later, so what it allows is allowed request by request.
    """
    mode = "default" if permissions == "read_only" else "acceptEdits"
    rules = [rule for rule in settings.get("permissions", {}).get("allow", []) if not rule.startswith(_READING)]
    updates: list[dict[str, Any]] = [{"type": "setMode", "mode": mode}]
    if rules:
        updates.append({"type": "addRules", "behavior": "allow", "rules": [_split_rule(rule) for rule in rules]})
    return tuple({**entry, "destination": "session"} for entry in updates)


def _split_rule(rule: str) -> dict[str, str]:
    """Split `Bash(git add:*)` into the tool and what of it is allowed."""
    tool, _, content = rule.removesuffix(")").partition("(")
    return {"toolName": tool, "ruleContent": content} if content else {"toolName": tool}
