"""The adapter of Codex: its app-server, its configuration, and the requests that drive it.

The server listens on a socket, so that a person can join with `codex resume <thread> --remote unix://<socket>`;
`workers.agents.codex.bridge` connects it to stdio.

The conversation opens step by step (`initialize`, then a thread, then a turn with the prompt), each step
after the reply to the one before; earlier messages wait. The first turn also waits until the
coordination server is up or has failed, since a turn that begins earlier lacks its tools. `turn/start` during
a turn steers that turn, so messages need no other request. The server ends when its stdin is closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from protocol import AgentState
from workers.agents.coordination import build_server_environment
from workers.agents.permissions import RequestPolicy, build_request_policy
from workers.agents.tool_calls import COORDINATION
from workers.contract.agent_events import AgentEvent, make_event, make_raw_event
from workers.contract.fields import Fields, format_line, get_object, get_text, parse_line
from workers.contract.spec import RunSpec
from workers.host import files, isolated_python
from workers.host.private_dirs import make_private_dir

from . import permissions
from .exec_stream import CodexExecStream
from .stream import CodexStream
from .wordings import diagnose, explain_exit

_CLIENT = {"name": "mission_control", "title": "Mission Control", "version": "1"}
MCP_SECONDS = 45
"""How long the coordination server may take to start, since a loaded machine imports Python slowly."""
_APPROVED = {"default_tools_approval_mode": "approve"}
_VERSION = re.compile(r"/(\d[\w.+-]*)")


class CodexAgent:
    """The adapter of one run of Codex (see `workers.contract.agent.AgentAdapter`)."""

    one_turn = False

    def __init__(self) -> None:
        self._stream = CodexStream(RequestPolicy(), ())
        self._exec = CodexExecStream()
        self._numbers = count(1)
        self._asked: dict[int, tuple[str, str]] = {}
        self._waiting: list[tuple[str, str]] = []
        self._replies: list[bytes] = []
        self._thread: Fields = {}
        self._opening = "thread/start"
        self._coordinated = False
        self._version = ""

    @property
    def state(self) -> AgentState:
        return self._exec.state if self._stream.state == "starting" else self._stream.state

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._stream = CodexStream(build_request_policy(spec), (spec.token, spec.nonce, *spec.secrets))
        self._coordinated = spec.mcp_command is None
        self._thread = {"cwd": spec.workspace, "approvalPolicy": permissions.get_approval_policy(spec)}
        if spec.model:
            self._thread = {**self._thread, "model": spec.model}
        if earlier_thread := find_earlier_thread(spec):
            self._opening = f"thread/{earlier_thread[0]}"
            self._thread = {**self._thread, "threadId": earlier_thread[1], "excludeTurns": True}
        write_config(spec, run_dir)

    def command(self, spec: RunSpec) -> list[str]:
        program = [spec.binary or "codex", str(build_socket_path(spec)), *spec.argv]
        return isolated_python.build_argv("workers.agents.codex.bridge", *program)

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return {"CODEX_HOME": spec.config_dir, **permissions.build_environment(spec)}

    def open(self, prompt: str) -> list[bytes]:
        self._stream.prompt_uuid = str(uuid4())
        self._waiting.append((self._stream.prompt_uuid, prompt))
        return [self._request("initialize", {"clientInfo": _CLIENT})]

    def parse(self, line: bytes) -> list[AgentEvent]:
        return parse_line(line, lambda message: self._read(line, message))

    def take_replies(self) -> list[bytes]:
        replies = self._replies + self._stream.requests.replies
        self._replies, self._stream.requests.replies = [], []
        return replies

    def send(self, uuid: str, body: str) -> list[bytes]:
        if not (self._stream.thread and self._coordinated):
            self._waiting.append((uuid, body))
            return []
        content = [{"type": "text", "text": body}]
        turn = {"threadId": self._stream.thread, "clientUserMessageId": uuid, "input": content}
        return [self._request("turn/start", turn, uuid)]

    def interrupt(self) -> list[bytes]:
        if self._stream.turn is None:
            return []
        turn = {"threadId": self._stream.thread, "turnId": self._stream.turn}
        return [self._request("turn/interrupt", turn)]

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return self._stream.requests.answer(answer)

    def end(self) -> list[bytes]:
        return []

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        has_failed = self._stream.failed or self._exec.failed
        return None if has_failed else explain_exit(exit_code, stderr)

    def _request(self, method: str, params: Fields, uuid: str = "") -> bytes:
        number = next(self._numbers)
        self._asked[number] = (method, uuid)
        return format_line({"id": number, "method": method, "params": params})

    def _read(self, line: bytes, message: Fields) -> list[AgentEvent]:
        if "type" in message and "method" not in message:
            return self._exec.read(message)
        if "method" in message:
            self._await_coordination(message)
            return self._stream.read(message)
        number = message.get("id")
        request = self._asked.pop(number, None) if isinstance(number, int) else None
        if request is None:
            return [make_raw_event(line, "a reply to nothing")]
        if "error" in message:
            return self._handle_refusal(*request, get_text(get_object(message, "error"), "message"))
        return self._handle_reply(*request, get_object(message, "result"))

    def _handle_reply(self, method: str, uuid: str, result: Fields) -> list[AgentEvent]:
        """Take the next step of the conversation after the reply to the last one."""
        match method:
            case "initialize":
                version = _VERSION.search(get_text(result, "userAgent"))
                self._version = version[1] if version else ""
                self._replies += [format_line({"method": "initialized"}), self._request(self._opening, self._thread)]
                return []
            case "thread/start" | "thread/resume" | "thread/fork":
                return self._begin(result)
            case "turn/start":
                self._stream.turn = get_text(get_object(result, "turn"), "id") or self._stream.turn
                return [make_event("receipt", uuid=uuid, state="delivered")]
            case _:
                return []

    def _begin(self, result: Fields) -> list[AgentEvent]:
        thread = get_text(get_object(result, "thread"), "id")
        self._stream.begin(thread, self._opening != "thread/start")
        self._send_waiting()
        model = get_text(result, "model")
        session_event = make_event(
            "session", conversation_id=thread, model=model, program="codex", version=self._version
        )
        return [session_event]

    def _await_coordination(self, message: Fields) -> None:
        """Start the first turn once the coordination server has started or failed."""
        params = get_object(message, "params")
        if (
            get_text(message, "method") == "mcpServer/startupStatus/updated"
            and get_text(params, "name") == COORDINATION
        ):
            self._coordinated = get_text(params, "status") != "starting"
            self._send_waiting()

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for uuid, body in waiting:
            self._replies += self.send(uuid, body)

    def _handle_refusal(self, method: str, uuid: str, error_text: str) -> list[AgentEvent]:
        """Handle an error reply. Without a thread there is no run, otherwise only the message fails."""
        if method == "turn/start" and uuid != self._stream.prompt_uuid:
            return [make_event("receipt", uuid=uuid, state="failed", detail=error_text)]
        if method == "turn/interrupt":
            return [make_event("notice", level="warning", text=f"Codex refused to interrupt: {error_text}")]
        self._stream.failed = True
        failure = diagnose(error_text)
        return [
            make_event("error", failure=failure, message=f"{method}: {error_text}"),
            make_event("result", ok=False, text=error_text, failure=failure),
        ]


def find_earlier_thread(spec: RunSpec) -> tuple[str, str] | None:
    """Return the verb with which Codex continues an earlier conversation, and the thread. None when there is none."""
    if spec.forks:
        return "fork", spec.forks
    return ("resume", spec.conversation_id) if spec.resume else None


def build_socket_path(spec: RunSpec) -> Path:
    """Build the path of the server's socket, in the private folder of the run's own socket."""
    return Path(spec.socket).with_suffix(".codex")


def build_join_argv(spec: RunSpec, thread: str) -> list[str]:
    """Build the command line of Codex's own screen on the run's server, so that a person can join while the agent works."""
    return [spec.binary or "codex", "resume", "--remote", f"unix://{build_socket_path(spec)}", "--", thread]


def build_options(spec: RunSpec) -> tuple[str, ...]:
    """Return the profile's arguments without the `exec` that chooses the one-turn adapter."""
    return spec.argv[1:] if spec.argv[:1] == ("exec",) else spec.argv


def write_config(spec: RunSpec, run_dir: Path) -> None:
    """Write `config.toml` into the run's configuration directory."""
    folder = make_private_dir(Path(spec.config_dir))
    files.replace(folder / "config.toml", _format_config(spec, run_dir).encode())
    permissions.write_rules(spec)


def _format_config(spec: RunSpec, run_dir: Path) -> str:
    """Format the `config.toml` of a run. No daemon: it would outlive the run and serve others with its environment."""
    general = {"model_reasoning_effort": spec.effort, "default_permissions": permissions.get_profile(spec)}
    sections = [
        _format_section("", check_for_update_on_startup=False, **general),
        _format_section("features", plugins=False, daemon_auto_start=False),
        _format_section("analytics", enabled=False),
        *(_format_section(name, **values) for name, values in permissions.build_tables(spec).items()),
        _format_section(f"projects.{json.dumps(spec.workspace, ensure_ascii=False)}", trust_level="trusted"),
    ]
    if spec.mcp_command is not None:
        program, *arguments = spec.mcp_command
        name = f"mcp_servers.{COORDINATION}"
        sections += [
            _format_section(name, command=program, args=arguments, startup_timeout_sec=MCP_SECONDS, **_APPROVED),
            _format_section(f"{name}.env", **build_server_environment(spec, run_dir)),
        ]
    return "\n".join(sections)


def _format_section(name: str, **values: object) -> str:
    """Format a TOML table. JSON's strings, booleans and arrays of strings are valid TOML."""
    lines = [
        f"{_format_key(key)} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
        if value is not None
    ]
    return "\n".join(([f"[{name}]"] if name else []) + lines) + "\n"


def _format_key(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key, ensure_ascii=False)
