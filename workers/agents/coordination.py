"""The coordination MCP server of a run: its configuration for an agent program, and the check that the program has it."""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path

from protocol import COORDINATION
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.spec import RunSpec
from workers.host import files, isolated_python

VERSION = "2.0.0"
"""Version of the coordination tools, which the server reports and a run shows."""
PRESENCE_FILE = "coordination.json"
"""Written into the run's directory by a server whose tools a program has listed: {version}."""
LOCK_FILE = "coordination.lock"
"""Locked by each server of a run for as long as it lives."""
ENDED = "Its process has ended."
_CLOSED = re.compile(rf"\b{COORDINATION}\b.*(Transport closed|has disconnected)", re.DOTALL)
"""How Codex 0.163 and Claude Code 2.1.332 word a call of tools whose server has ended."""
SERVER_COMMAND = tuple(isolated_python.build_argv("mc_coordination_mcp", site_packages=False))
"""The command line of the server, which needs the standard library alone."""
TOKEN_FILE = "api-token"  # noqa: S105 - a file's name
BOARD_TOKEN_VARIABLE = "MC_BOARD_TOKEN_FILE"  # noqa: S105 - a variable's name


def build_server_environment(spec: RunSpec, run_dir: Path) -> dict[str, str]:
    """Build the environment of `mc_coordination_mcp.py`, with the path of a 0600 file that contains the run's token.

    That of an orchestrator names the file of the board's token too. The program's own configuration is stored with
    the conversation, so it must not contain the tokens themselves.
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
        **({BOARD_TOKEN_VARIABLE: spec.board_token_file} if spec.board_token_file else {}),
    }


def hold_liveness_lock(run_dir: Path) -> int:
    """Lock the run's file until this process ends, and return the open file."""
    handle = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_SH)  # a program may have several, one for each sub-agent
    return handle


def has_ended(run_dir: Path) -> bool:
    """Return whether a server of the run was there and none is any more."""
    try:
        handle = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def is_closed_call(agent_event: AgentEvent) -> bool:
    """Return whether a tool call failed because the program has lost the server. A refusal is worded by the server itself."""
    output = str(agent_event.payload.get("output", ""))
    return agent_event.kind == "tool_result" and bool(agent_event.payload.get("error")) and bool(_CLOSED.search(output))


class CoordinationCheck:
    """The check that a program has the coordination tools, with one restart of a server that it lacks.

    The adapter tells it each status that its program reports. While `is_pending` the first turn waits; `needs_restart`
    is True once, for the adapter to send its program's own request.
    """

    def __init__(self, run_dir: Path, is_expected: bool, can_restart: bool = True) -> None:
        self._run_dir = run_dir
        self._is_expected = is_expected
        self._state = ""
        self._may_restart = can_restart
        self.is_pending = is_expected
        self.needs_restart = False

    @property
    def was_present(self) -> bool:
        """True once a program has listed the tools of a server of this run."""
        return (self._run_dir / PRESENCE_FILE).exists()

    @property
    def is_present(self) -> bool:
        """True while a server of this run lives whose tools a program has listed."""
        return self.was_present and not has_ended(self._run_dir)

    @property
    def is_lost(self) -> bool:
        """True when the server was ready and has ended. A program that ends takes its server along."""
        return self._state == "ready" and has_ended(self._run_dir)

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
            return str(json.loads((self._run_dir / PRESENCE_FILE).read_bytes())["version"])
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
