"""The coordination tools of a program with its own screen, which does not report its MCP servers."""

from __future__ import annotations

from pathlib import Path

from workers.agents.coordination import ENDED, CoordinationCheck, is_closed_call
from workers.contract.agent_events import AgentEvent

MISSING_SECONDS = 15.0
"""How long the tools may be absent: after the first prompt, after a reconnection, and after their server has ended."""


class ToolsWatch:
    """Watches for the sign of a server whose tools are listed. `command` makes the screen connect to it again."""

    def __init__(self, run_dir: Path, is_expected: bool, command: str) -> None:
        self._check = CoordinationCheck(run_dir, is_expected, can_restart=bool(command))
        self._command = command
        self._deadline: float | None = None

    def look(self, has_begun: bool, now: float) -> list[AgentEvent]:
        """Return the events of a change, once the screen has begun to work."""
        if self._check.needs_restart:
            return []
        if self._check.is_present:
            self._deadline = None
            return self._check.take_status(is_ready=True)
        if has_begun and self._deadline is None:
            self._deadline = now + MISSING_SECONDS
        if self._deadline is None or now < self._deadline:
            return []
        return self._check.take_status(is_ready=False)

    def take_result(self, agent_event: AgentEvent) -> list[AgentEvent]:
        """Return the events of a call that failed because the program has lost the server."""
        return self._check.take_status(is_ready=False, reason=ENDED) if is_closed_call(agent_event) else []

    @property
    def needs_command(self) -> bool:
        """True while `take_command` has something to type."""
        return self._check.needs_restart

    def take_command(self, now: float) -> str:
        """Return what to type into the idle screen to connect again, once. Empty when there is nothing to do."""
        if not self._check.take_restart_order():
            return ""
        self._deadline = now + MISSING_SECONDS
        return self._command
