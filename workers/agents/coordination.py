"""The coordination MCP server of a run: its configuration for an agent program, and the check that the program has it."""

from __future__ import annotations

import json
from pathlib import Path

from protocol import COORDINATION
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.spec import RunSpec
from workers.host import files, isolated_python

VERSION = "2.0.0"
"""Version of the coordination tools, which the server reports and a run shows."""
PRESENCE_FILE = "coordination.json"
"""Written into the run's directory by a server whose tools a program has listed: {version}."""
SERVER_COMMAND = tuple(isolated_python.build_argv("mc_coordination_mcp", site_packages=False))
"""The command line of the server, which needs the standard library alone."""
TOKEN_FILE = "api-token"  # noqa: S105 - a file's name


def build_server_environment(spec: RunSpec, run_dir: Path) -> dict[str, str]:
    """Build the environment of `mc_coordination_mcp.py`, with the path of a 0600 file that contains the run's token.

    The program's own configuration is stored with the conversation, so it must not contain the token itself.
    """
    token_file = run_dir / TOKEN_FILE
    files.replace(token_file, spec.token.encode())
    return {
        "MC_RUN_DIR": str(run_dir),
        "MC_WORKSPACE": spec.workspace,
        "MC_TICKET_ID": str(spec.ticket_id),
        "MC_TICKET_NONCE": spec.nonce,
        "MC_API": spec.api,
        "MC_API_TOKEN_FILE": str(token_file),
    }


class CoordinationCheck:
    """The check that a program has the coordination tools, with one restart of a server that it lacks.

    The adapter tells it each status that its program reports. While `is_pending` the first turn waits; `needs_restart`
    is True once, for the adapter to send its program's own request.
    """

    def __init__(self, run_dir: Path, is_expected: bool, can_restart: bool = True) -> None:
        self._presence = run_dir / PRESENCE_FILE
        self._is_expected = is_expected
        self._state = ""
        self._may_restart = can_restart
        self.is_pending = is_expected
        self.needs_restart = False

    @property
    def is_present(self) -> bool:
        """True once a program has listed the tools of a server of this run."""
        return self._presence.exists()

    def take_status(self, is_ready: bool, reason: str = "") -> list[AgentEvent]:
        """Take the status of the server and return the events of a change."""
        if not self._is_expected or (is_ready and self._state == "ready"):
            return []
        self.needs_restart = not is_ready and self._may_restart
        self.is_pending = self.needs_restart
        self._may_restart = self._may_restart and not self.needs_restart
        return self._change_state("ready" if is_ready else "restarting" if self.needs_restart else "missing", reason)

    def take_restart_order(self) -> bool:
        """Return whether the server must be restarted now, once for each order."""
        is_ordered, self.needs_restart = self.needs_restart, False
        return is_ordered

    def skip(self) -> None:
        """Let the first turn begin although the program reports no status."""
        self.is_pending = False

    def _change_state(self, state: str, reason: str) -> list[AgentEvent]:
        if state == self._state:
            return []
        earlier_state, self._state = self._state, state
        version = self._read_version() if state == "ready" else None
        events = [make_event("coordination", state=state, version=version, detail=reason or None)]
        if state == "ready" and not earlier_state:
            return events
        text = _NOTICES[state].format(name=COORDINATION, reason=reason).strip()
        return [*events, make_event("notice", level="info" if state == "ready" else "warning", text=text)]

    def _read_version(self) -> str:
        try:
            return str(json.loads(self._presence.read_bytes())["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""


_NOTICES = {
    "ready": "The coordination tools ({name}) are there again.",
    "restarting": "The coordination tools ({name}) are missing, so their server is started again. {reason}",
    "missing": (
        "The coordination tools ({name}) are missing. The run goes on without them: the agent reports with a line that"
        " begins with DONE:, REVIEW: or QUESTION:. {reason}"
    ),
}
