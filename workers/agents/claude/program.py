"""The adapter of Claude Code: its command line, its configuration and its stdin.

The program runs with stream-json in both directions. Its permission requests arrive on the same stream,
every message has a uuid whose receipts come back, and only `end_session` or a signal ends the process.

The prompt waits until `mcp_status` reports the coordination server: a turn that begins without its tools may never get
them. The program answers it once its servers are connected or given up, `mcp_reconnect` starts one again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from protocol import AgentState, AttachedFile
from workers.agents.coordination import CoordinationCheck, build_server_environment
from workers.agents.permissions import RequestPolicy, build_request_policy
from workers.agents.tool_calls import COORDINATION
from workers.agents.tool_requests import PlanExit
from workers.contract import attached_files
from workers.contract.agent_events import AgentEvent
from workers.contract.fields import Fields, format_line, get_object, get_objects, get_text, parse_line, parse_object
from workers.contract.spec import RunSpec
from workers.host import files
from workers.host.private_dirs import make_private_dir

from . import permissions, plan_mode, user_configuration
from .stream import ClaudeStream
from .wordings import explain_exit

MCP_CONFIG = "mc-coord.json"
RETRIES = "CLAUDE_CODE_MAX_RETRIES"
"""How often a refused request is sent again, a wrong key included. Mission Control backs off, so a run ends in seconds."""
LIMIT_SETTINGS = {"autoContinueAtUsageLimit": False}
"""Mission Control alone resumes at the reset of a limit."""
MCP_SECONDS = 45
"""How long the coordination server may take to start; the program's own limit is shorter."""
_STREAMS = "--input-format stream-json --output-format stream-json --verbose --include-partial-messages"
_CHANNEL = "--replay-user-messages --permission-prompt-tool stdio --strict-mcp-config"


class ClaudeAgent:
    """The adapter of one run of Claude Code (see `workers.contract.agent.AgentAdapter`)."""

    one_turn = False
    joins_turn = True

    def __init__(self) -> None:
        self._stream = ClaudeStream(RequestPolicy(), ())
        self._numbers = count(1)
        self._coordination = CoordinationCheck(Path(), is_expected=False)
        self._images: list[AttachedFile] = []
        self._waiting: list[tuple[str, str]] = []
        self._replies: list[bytes] = []
        self._requests: dict[str, str] = {}
        self.plan_exit: PlanExit = ()

    @property
    def state(self) -> AgentState:
        return self._stream.state

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._stream = ClaudeStream(build_request_policy(spec), spec.all_secrets)
        self._coordination = CoordinationCheck(run_dir, spec.mcp_command is not None)
        self._images = attached_files.list_images(run_dir)
        folder = make_private_dir(Path(spec.config_dir))
        state = _read_state(folder / ".claude.json")
        user_configuration.record_trust(state, spec)
        state["hasCompletedOnboarding"] = True
        files.replace(folder / ".claude.json", json.dumps(state).encode())
        self._write_settings(spec, run_dir)

    def _write_settings(self, spec: RunSpec, run_dir: Path) -> None:
        """Write the settings and MCP servers: Mission Control's part, and in the folder's own file the operator's too."""
        own = user_configuration.load_configuration(spec)
        user_configuration.install(own, spec)
        servers = user_configuration.choose_servers(own, spec)
        settings = {**permissions.build_settings(spec), **LIMIT_SETTINGS}
        settings["permissions"]["allow"] += [
            build_read_rule(run_dir / attached_files.FOLDER / "**"),
            *user_configuration.build_server_rules(servers, spec),
        ]
        if spec.plan:
            self.plan_exit = plan_mode.build_exit(settings, spec.permissions)
            settings = plan_mode.restrict_settings(settings)
        self._stream.requests.plan_exit = self.plan_exit
        merged = user_configuration.merge_settings(own, settings, {*spec.env, *self.environment(spec)})
        folder = Path(spec.config_dir)
        files.replace(folder / "settings.json", json.dumps(merged).encode())
        files.replace(folder / permissions.SETTINGS_FILE, json.dumps(settings).encode())
        permissions.write_excludes(spec)
        mcp_config = {"mcpServers": servers | _build_servers(spec, run_dir)}
        files.replace(folder / MCP_CONFIG, json.dumps(mcp_config).encode())

    def command(self, spec: RunSpec) -> list[str]:
        argv = [spec.binary or "claude", "-p", *_STREAMS.split(), *_CHANNEL.split(), *build_session_options(spec)]
        argv += user_configuration.build_options(spec)
        argv += ["--mcp-config", str(Path(spec.config_dir) / MCP_CONFIG)]
        argv += _build_option("--model", spec.model) + _build_option("--effort", spec.effort)
        argv += _build_option("--max-turns", spec.limits.turns)
        return [*argv, *permissions.build_options(spec), *spec.argv]

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return {
            "CLAUDE_CONFIG_DIR": spec.config_dir,
            "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
            "MCP_TIMEOUT": str(MCP_SECONDS * 1000),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
            "DISABLE_AUTOUPDATER": "1",
            RETRIES: spec.environment.get(RETRIES, "2"),
            **permissions.build_environment(spec),
        }

    def open(self, prompt: str) -> list[bytes]:
        self._stream.prompt_uuid = str(uuid4())
        lines = self.send(self._stream.prompt_uuid, prompt)
        return lines or [self._control("mcp_status")]

    def parse(self, line: bytes) -> list[AgentEvent]:
        return parse_line(line, self._read)

    def take_replies(self) -> list[bytes]:
        replies = self._replies + self._stream.requests.replies
        self._replies, self._stream.requests.replies = [], []
        return replies

    def send(self, uuid: str, body: str) -> list[bytes]:
        if self._coordination.is_pending:
            self._waiting.append((uuid, body))
            return []
        images = self._images if uuid == self._stream.prompt_uuid else []
        text: dict[str, Any] = {"type": "text", "text": body}
        content = [text, *map(attached_files.encode_image, images)] if images else body
        message = {"role": "user", "content": content}
        return [format_line({"type": "user", "message": message, "uuid": uuid})]

    def interrupt(self) -> list[bytes]:
        return [self._control("interrupt")]

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return self._stream.requests.answer(answer)

    def set_model(self, uuid: str, model: str) -> list[bytes] | None:
        line = self._control("set_model", model=model)
        self._stream.model_orders[get_text(parse_object(line), "request_id")] = (uuid, model)
        return [line]

    def end(self) -> list[bytes]:
        return [self._control("end_session")]

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        return None if self._stream.failed else explain_exit(exit_code, stderr)

    def _control(self, subtype: str, **fields: str) -> bytes:
        number = f"mc-{next(self._numbers)}"
        self._requests[number] = subtype
        request = {"subtype": subtype, **fields}
        return format_line({"type": "control_request", "request_id": number, "request": request})

    def _read(self, message: Fields) -> list[AgentEvent]:
        response = get_object(message, "response")
        match self._requests.pop(get_text(response, "request_id"), ""):
            case "mcp_status":
                return self._handle_status(response)
            case "mcp_reconnect":
                self._replies.append(self._control("mcp_status"))
                return []
        events = self._stream.read(message)
        if get_text(message, "subtype") == "init":
            events += self._check_coordination(get_objects(message, "mcp_servers"))
        return events

    def _handle_status(self, response: Fields) -> list[AgentEvent]:
        """Handle the reply to `mcp_status`. A version that does not know it reports the servers when the turn starts."""
        if get_text(response, "subtype") != "error":
            return self._check_coordination(get_objects(get_object(response, "response"), "mcpServers"))
        self._coordination.skip()
        self._send_waiting()
        return []

    def _check_coordination(self, servers: list[Fields]) -> list[AgentEvent]:
        """Check the program's list of MCP servers, restart ours if it lacks it, and send what waited for it."""
        server = next((row for row in servers if get_text(row, "name") == COORDINATION), {})
        events = self._coordination.take_status(get_text(server, "status") == "connected", get_text(server, "error"))
        if self._coordination.take_restart_order():
            self._replies.append(self._control("mcp_reconnect", serverName=COORDINATION))
        self._send_waiting()
        return events

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for uuid, body in waiting:
            self._replies += self.send(uuid, body)


def build_session_options(spec: RunSpec) -> list[str]:
    """Build the options that choose the conversation."""
    if spec.forks:
        return ["--resume", spec.forks, "--fork-session", "--session-id", spec.conversation_id]
    return ["--resume" if spec.resume else "--session-id", spec.conversation_id]


def build_read_rule(path: Path) -> str:
    """Build the rule that lets the agent read an absolute path, or the files of a pattern."""
    return f"Read(/{path})"


def _build_option(name: str, value: str | int | None) -> list[str]:
    return [] if value is None else [name, str(value)]


def _build_servers(spec: RunSpec, run_dir: Path) -> dict[str, Fields]:
    if spec.mcp_command is None:
        return {}
    program, *arguments = spec.mcp_command
    server = {"type": "stdio", "command": program, "args": arguments, "alwaysLoad": True}
    return {COORDINATION: {**server, "env": build_server_environment(spec, run_dir)}}


def _read_state(path: Path) -> dict[str, Any]:
    """Read the program's state in the configuration directory of a resumed conversation."""
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
