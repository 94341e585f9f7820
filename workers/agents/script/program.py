"""The adapter of the built-in script agent, whose process is `workers.agents.script.script_agent`.

Any other program with the same line protocol can take its place (`spec.binary`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from protocol import AGENT_EVENT_KINDS, AgentEventKind, AgentState
from workers.agents.deltas import DeltaThrottle
from workers.agents.error_classifier import explain_exit
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, UnknownLine, format_line, get_object, get_text, parse_line
from workers.contract.spec import RunSpec
from workers.host import isolated_python


class ScriptAgent:
    """The adapter of one run of the script agent (see `workers.contract.agent.AgentAdapter`)."""

    one_turn = False
    joins_turn = False

    def __init__(self) -> None:
        self.state: AgentState = "starting"
        self._deltas = DeltaThrottle(())
        self._failed = False

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._deltas = DeltaThrottle(spec.all_secrets)

    def command(self, spec: RunSpec) -> list[str]:
        ticket_options = ["--identifier", spec.identifier, "--title", spec.title]
        program = [spec.binary] if spec.binary else isolated_python.build_argv("workers.agents.script.script_agent")
        return [*program, *spec.argv, *ticket_options, *(["--plan"] if spec.plan else [])]

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return {}

    def open(self, prompt: str) -> list[bytes]:
        return [format_line({"type": "prompt", "text": prompt})]

    def parse(self, line: bytes) -> list[AgentEvent]:
        return parse_line(line, self._read)

    def take_replies(self) -> list[bytes]:
        return []

    def send(self, uuid: str, body: str) -> list[bytes]:
        return [format_line({"type": "message", "uuid": uuid, "text": body})]

    def interrupt(self) -> list[bytes]:
        return [format_line({"type": "interrupt"})]

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return []

    def set_model(self, uuid: str, model: str) -> list[bytes] | None:
        return None

    def end(self) -> list[bytes]:
        return [format_line({"type": "end"})]

    def explain(self, exit_code: int, stderr: str) -> AgentEvent | None:
        return None if self._failed else explain_exit(exit_code, stderr)

    def _read(self, line: Fields) -> list[AgentEvent]:
        kind, payload = get_text(line, "kind"), get_object(line, "payload")
        if kind not in AGENT_EVENT_KINDS:
            raise UnknownLine(f"unknown kind {kind!r}")
        match kind:
            case "delta":
                return self._deltas.add(
                    get_text(payload, "block"), get_text(payload, "kind"), get_text(payload, "text")
                )
            case "state":
                self.state = cast(AgentState, get_text(payload, "state"))
            case "tool_result":
                self._deltas.close(get_text(payload, "call"))
            case "result":
                self._failed = payload.get("ok") is not True
        return [make_event(cast(AgentEventKind, kind), **payload)]
