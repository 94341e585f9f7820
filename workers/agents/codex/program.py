"""The adapter of Codex: its app-server, its configuration, and the requests that drive it.

The server listens on a socket, so that a person can join with `codex resume <thread> --remote unix://<socket>`;
`workers.agents.codex.bridge` connects it to stdio.

The conversation opens step by step (`initialize`, then a thread, then a turn with the prompt), each step
after the reply to the one before; earlier messages wait. The first turn also waits until the coordination server
is up, or has failed again after `config/mcpServer/reload`, since a turn that begins earlier lacks its tools. `turn/start` during
a turn steers that turn, so messages need no other request. The server ends when its stdin is closed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from protocol import AgentState, AttachedFile
from workers.agents.coordination import ENDED, CoordinationCheck, build_server_environment
from workers.agents.permissions import RequestPolicy, build_request_policy
from workers.agents.tool_calls import COORDINATION
from workers.contract import attached_files
from workers.contract.agent_events import AgentEvent, make_event, make_raw_event
from workers.contract.fields import Fields, format_line, get_object, get_text, parse_line
from workers.contract.spec import RunSpec
from workers.host import files, isolated_python
from workers.host.private_dirs import make_private_dir

from . import permissions, trust, user_configuration
from .exec_stream import CodexExecStream
from .stream import CodexStream
from .user_configuration import APPROVED, format_section
from .wordings import diagnose, explain_exit

_CLIENT = {"name": "mission_control", "title": "Mission Control", "version": "1"}
MCP_SECONDS = 45
"""How long the coordination server may take to start, since a loaded machine imports Python slowly."""
_VERSION = re.compile(r"/(\d[\w.+-]*)")


class CodexAgent:
    """The adapter of one run of Codex (see `workers.contract.agent.AgentAdapter`)."""

    one_turn = False
    joins_turn = True

    def __init__(self) -> None:
        self._stream = CodexStream(RequestPolicy(), ())
        self._exec = CodexExecStream()
        self._numbers = count(1)
        self._asked: dict[int, tuple[str, str]] = {}
        self._waiting: list[tuple[str, str]] = []
        self._replies: list[bytes] = []
        self._thread: Fields = {}
        self._opening = "thread/start"
        self._coordination = CoordinationCheck(Path(), is_expected=False)
        self._images: list[AttachedFile] = []
        self._version = ""
        self._model_order: tuple[str, str] | None = None
        self._model_turn = ""

    @property
    def state(self) -> AgentState:
        return self._exec.state if self._stream.state == "starting" else self._stream.state

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._stream = CodexStream(build_request_policy(spec), spec.all_secrets)
        self._coordination = CoordinationCheck(run_dir, spec.mcp_command is not None)
        self._images = attached_files.list_images(run_dir)
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
        if not self._stream.thread or self._coordination.is_pending:
            self._waiting.append((uuid, body))
            return []
        images = self._images if uuid == self._stream.prompt_uuid else []
        content = [{"type": "text", "text": body}, *({"type": "localImage", "path": image.path} for image in images)]
        turn = {"threadId": self._stream.thread, "clientUserMessageId": uuid, "input": content}
        if self._model_order:
            turn |= {"model": self._model_order[1]}
            self._model_turn = uuid
        return [self._request("turn/start", turn, uuid)]

    def interrupt(self) -> list[bytes]:
        if self._stream.turn is None:
            return []
        turn = {"threadId": self._stream.thread, "turnId": self._stream.turn}
        return [self._request("turn/interrupt", turn)]

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return self._stream.requests.answer(answer)

    def set_model(self, uuid: str, model: str) -> list[bytes] | None:
        """Keep the order for the next turn, since Codex takes a model with the start of a turn only."""
        self._model_order = (uuid, model)
        return []

    def _confirm_model(self, uuid: str, error_text: str | None) -> list[AgentEvent]:
        """Make the event of the model that the turn of this message was started with."""
        if self._model_order is None or uuid != self._model_turn:
            return []
        (order, model), self._model_order = self._model_order, None
        return [make_event("model", uuid=order, model=model, ok=error_text is None, detail=error_text)]

    def end(self) -> list[bytes]:
        return []

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        has_failed = self._stream.failed or self._exec.failed
        return None if has_failed else explain_exit(exit_code, stderr)

    def _request(self, method: str, params: Fields | None, uuid: str = "") -> bytes:
        number = next(self._numbers)
        self._asked[number] = (method, uuid)
        return format_line({"id": number, "method": method, "params": params})

    def _read(self, line: bytes, message: Fields) -> list[AgentEvent]:
        if "type" in message and "method" not in message:
            return self._exec.read(message)
        if "method" in message:
            return [*self._read_notification(message), *self._check_for_loss()]
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
                return [make_event("receipt", uuid=uuid, state="delivered"), *self._confirm_model(uuid, None)]
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

    def _read_notification(self, message: Fields) -> list[AgentEvent]:
        params = get_object(message, "params")
        is_status = get_text(message, "method") == "mcpServer/startupStatus/updated"
        if not is_status or get_text(params, "name") != COORDINATION:
            return self._stream.read(message)
        is_own = get_text(params, "threadId") in ("", self._stream.thread)
        if not is_own or get_text(params, "status") == "starting":
            return []
        return self._check_coordination(get_text(params, "status") == "ready", get_text(params, "error"))

    def _check_for_loss(self) -> list[AgentEvent]:
        """Restart a coordination server that has ended while the agent works, which the program does not report."""
        is_lost = self._stream.state == "running" and self._coordination.is_lost
        return self._check_coordination(False, ENDED) if is_lost else []

    def _check_coordination(self, is_ready: bool, reason: str) -> list[AgentEvent]:
        """Restart the coordination server if the thread lacks it, and send what waited for it."""
        events = self._coordination.take_status(is_ready, reason)
        if self._coordination.take_restart_order():
            self._replies.append(self._request("config/mcpServer/reload", None))
        self._send_waiting()
        return events

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for uuid, body in waiting:
            self._replies += self.send(uuid, body)

    def _handle_refusal(self, method: str, uuid: str, error_text: str) -> list[AgentEvent]:
        """Handle an error reply. Without a thread there is no run, otherwise only the message fails."""
        if method == "turn/start" and uuid != self._stream.prompt_uuid:
            failed = make_event("receipt", uuid=uuid, state="failed", detail=error_text)
            return [failed, *self._confirm_model(uuid, error_text)]
        if method == "config/mcpServer/reload":
            return self._check_coordination(False, error_text)
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
    """Write the run's configuration directory, and trust the hooks of a trusted repository."""
    folder = make_private_dir(Path(spec.config_dir))
    files.replace(folder / "config.toml", _format_config(spec, run_dir).encode())
    permissions.write_rules(spec)
    if user_configuration.brings_hooks(spec):
        trust.trust_hooks(spec, build_options(spec))


def _format_config(spec: RunSpec, run_dir: Path) -> str:
    """Format the `config.toml` of a run. No daemon: it would outlive the run and serve others with its environment."""
    own = user_configuration.load_configuration(spec)
    user_configuration.install(own, spec)
    general = {"check_for_update_on_startup": False, "default_permissions": permissions.get_profile(spec)}
    sections = [
        format_section("", **general) + user_configuration.format_settings(own, spec.effort),
        format_section("features", plugins=False, daemon_auto_start=False),
        format_section("analytics", enabled=False),
        *(format_section(name, **values) for name, values in permissions.build_tables(spec).items()),
        *user_configuration.format_tables(own, spec),
    ]
    if spec.mcp_command is not None:
        program, *arguments = spec.mcp_command
        name = f"mcp_servers.{COORDINATION}"
        sections += [
            format_section(name, command=program, args=arguments, startup_timeout_sec=MCP_SECONDS, **APPROVED),
            format_section(f"{name}.env", **build_server_environment(spec, run_dir)),
        ]
    return "\n".join(sections)
