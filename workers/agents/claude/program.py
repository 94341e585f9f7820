"""The adapter of Claude Code: its command line, its configuration and its stdin.

The program runs with stream-json in both directions. Its permission requests arrive on the same stream,
every message has a uuid whose receipts come back, and only `end_session` or a signal ends the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from protocol import AgentState
from workers.agents.coordination import build_server_environment
from workers.agents.permissions import RequestPolicy, build_request_policy
from workers.agents.tool_calls import COORDINATION
from workers.contract.agent_events import AgentEvent
from workers.contract.fields import Fields, format_line, parse_line
from workers.contract.spec import RunSpec
from workers.host import files
from workers.host.private_dirs import make_private_dir

from . import permissions
from .stream import ClaudeStream
from .wordings import explain_exit

MCP_CONFIG = "mc-coord.json"
_STREAMS = "--input-format stream-json --output-format stream-json --verbose --include-partial-messages"
_CHANNEL = "--replay-user-messages --permission-prompt-tool stdio --strict-mcp-config"


class ClaudeAgent:
    """The adapter of one run of Claude Code (see `workers.contract.agent.AgentAdapter`)."""

    one_turn = False

    def __init__(self) -> None:
        self._stream = ClaudeStream(RequestPolicy(), ())
        self._numbers = count(1)

    @property
    def state(self) -> AgentState:
        return self._stream.state

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._stream = ClaudeStream(build_request_policy(spec), (spec.token, spec.nonce, *spec.secrets))
        folder = make_private_dir(Path(spec.config_dir))
        state = _read_state(folder / ".claude.json")
        projects = state.setdefault("projects", {})
        projects.setdefault(spec.workspace, {})["hasTrustDialogAccepted"] = True
        state["hasCompletedOnboarding"] = True
        files.replace(folder / ".claude.json", json.dumps(state).encode())
        for name in (
            "settings.json",
            permissions.SETTINGS_FILE,
        ):  # the first holds where a profile names a file of its own
            files.replace(folder / name, json.dumps(permissions.build_settings(spec)).encode())
        permissions.write_excludes(spec)
        servers = {"mcpServers": _build_servers(spec, run_dir)}
        files.replace(folder / MCP_CONFIG, json.dumps(servers).encode())

    def command(self, spec: RunSpec) -> list[str]:
        argv = [spec.binary or "claude", "-p", *_STREAMS.split(), *_CHANNEL.split(), *build_session_options(spec)]
        argv += ["--mcp-config", str(Path(spec.config_dir) / MCP_CONFIG)]
        argv += _build_option("--model", spec.model) + _build_option("--effort", spec.effort)
        argv += _build_option("--max-turns", spec.limits.turns)
        return [*argv, *permissions.build_options(spec), *spec.argv]

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return {
            "CLAUDE_CONFIG_DIR": spec.config_dir,
            "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
            "DISABLE_AUTOUPDATER": "1",
            **permissions.build_environment(spec),
        }

    def open(self, prompt: str) -> list[bytes]:
        self._stream.prompt_uuid = str(uuid4())
        return self.send(self._stream.prompt_uuid, prompt)

    def parse(self, line: bytes) -> list[AgentEvent]:
        return parse_line(line, self._stream.read)

    def take_replies(self) -> list[bytes]:
        replies, self._stream.requests.replies = self._stream.requests.replies, []
        return replies

    def send(self, uuid: str, body: str) -> list[bytes]:
        message = {"role": "user", "content": body}
        return [format_line({"type": "user", "message": message, "uuid": uuid})]

    def interrupt(self) -> list[bytes]:
        return [self._control("interrupt")]

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return self._stream.requests.answer(answer)

    def end(self) -> list[bytes]:
        return [self._control("end_session")]

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        return None if self._stream.failed else explain_exit(exit_code, stderr)

    def _control(self, subtype: str) -> bytes:
        number = f"mc-{next(self._numbers)}"
        return format_line({"type": "control_request", "request_id": number, "request": {"subtype": subtype}})


def build_session_options(spec: RunSpec) -> list[str]:
    """Build the options that choose the conversation."""
    if spec.forks:
        return ["--resume", spec.forks, "--fork-session", "--session-id", spec.conversation_id]
    return ["--resume" if spec.resume else "--session-id", spec.conversation_id]


def _build_option(name: str, value: str | int | None) -> list[str]:
    return [] if value is None else [name, str(value)]


def _build_servers(spec: RunSpec, run_dir: Path) -> Fields:
    if spec.mcp_command is None:
        return {}
    program, *arguments = spec.mcp_command
    server = {"type": "stdio", "command": program, "args": arguments}
    return {COORDINATION: {**server, "env": build_server_environment(spec, run_dir)}}


def _read_state(path: Path) -> dict[str, Any]:
    """Read the program's state in the configuration directory of a resumed conversation."""
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
