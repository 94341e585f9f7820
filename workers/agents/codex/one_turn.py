"""The adapter of Codex without a conversation: `codex exec --json`, one process for one turn.

A profile chooses it with `exec` as its first argument, when the app-server cannot be used. The prompt goes to
stdin, which is then closed; messages wait for the next run, and nobody can be asked for permission. Missing coordination
tools are reported at the end of the turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocol import AgentState, AttachedFile
from workers.agents.coordination import ENDED, CoordinationCheck, is_closed_call
from workers.contract import attached_files
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import parse_line
from workers.contract.spec import RunSpec

from . import permissions
from .exec_stream import CodexExecStream
from .program import MCP_SECONDS, find_earlier_thread, write_config
from .wordings import explain_exit


class CodexExecAgent:
    """The adapter of one run of `codex exec` (see `workers.contract.agent.AgentAdapter`)."""

    one_turn = True
    joins_turn = False

    def __init__(self) -> None:
        self._exec = CodexExecStream()
        self._prompt: str | None = None
        self._coordination = CoordinationCheck(Path(), is_expected=False)
        self._images: list[AttachedFile] = []
        self._is_lost = False

    @property
    def state(self) -> AgentState:
        return self._exec.state

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._coordination = CoordinationCheck(run_dir, spec.mcp_command is not None, can_restart=False)
        self._images = attached_files.list_images(run_dir)
        write_config(spec, run_dir)

    def command(self, spec: RunSpec) -> list[str]:
        argv = [spec.binary or "codex", *spec.argv, "--json", "--skip-git-repo-check"]
        argv += ["-C", spec.workspace, *(["-m", spec.model] if spec.model else [])]
        argv += ["-c", f"mcp_optional_startup_grace_ms={MCP_SECONDS * 1000}"] if spec.mcp_command else []
        argv += find_earlier_thread(spec) or ()
        return [*argv, *(f"--image={image.path}" for image in self._images), "-"]

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return {"CODEX_HOME": spec.config_dir, **permissions.build_environment(spec)}

    def open(self, prompt: str) -> list[bytes]:
        self._prompt = prompt
        return [prompt.encode()]

    def parse(self, line: bytes) -> list[AgentEvent]:
        events = parse_line(line, self._exec.read)
        if self._prompt is not None and any(agent_event.kind == "session" for agent_event in events):
            events.append(make_event("input", text=self._prompt, source="prompt"))
            self._prompt = None
        if any(agent_event.kind == "result" for agent_event in events) and not self._is_lost:
            events += self._coordination.take_status(self._coordination.was_present)
        if any(map(is_closed_call, events)):
            self._is_lost = True
            events += self._coordination.take_status(False, ENDED)
        return events

    def take_replies(self) -> list[bytes]:
        return []

    def send(self, uuid: str, body: str) -> list[bytes]:
        """Send nothing, so that the message stays queued for the next run."""
        return []

    def interrupt(self) -> list[bytes]:
        return []

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return []

    def set_model(self, uuid: str, model: str) -> list[bytes] | None:
        return None

    def end(self) -> list[bytes]:
        return []

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        return None if self._exec.failed else explain_exit(exit_code, stderr)
