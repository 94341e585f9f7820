"""The built-in script agent as seen from the wrapper; the program itself is `workers.agents.script.script_agent`.

Any other program that speaks the same lines can take its place (`spec.binary`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from workers.agents.deltas import Deltas
from workers.agents.error_classifier import explain_exit
from workers.contract.agent import State
from workers.contract.agent_events import KINDS, Event, Kind, event
from workers.contract.fields import Fields, UnknownLine, read_line, table, text, write_line
from workers.contract.spec import RunSpec
from workers.host import isolated_python


class ScriptAgent:
    """One run of the script agent; see `workers.contract.agent.Agent`."""

    one_turn = False

    def __init__(self) -> None:
        self.state: State = "starting"
        self._deltas = Deltas(())
        self._failed = False

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._deltas = Deltas((spec.token, spec.nonce, *spec.secrets))

    def command(self, spec: RunSpec) -> list[str]:
        named = ["--identifier", spec.identifier, "--title", spec.title]
        program = [spec.binary] if spec.binary else isolated_python.module("workers.agents.script.script_agent")
        return [*program, *spec.argv, *named]

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return {}

    def open(self, prompt: str) -> list[bytes]:
        return [write_line({"type": "prompt", "text": prompt})]

    def parse(self, line: bytes) -> list[Event]:
        return read_line(line, self._read)

    def outbox(self) -> list[bytes]:
        return []

    def send(self, uuid: str, body: str) -> list[bytes]:
        return [write_line({"type": "message", "uuid": uuid, "text": body})]

    def interrupt(self) -> list[bytes]:
        return [write_line({"type": "interrupt"})]

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return []

    def end(self) -> list[bytes]:
        return [write_line({"type": "end"})]

    def explain(self, exit_code: int, stderr: str) -> Event | None:
        return None if self._failed else explain_exit(exit_code, stderr)

    def _read(self, line: Fields) -> list[Event]:
        kind, payload = text(line, "kind"), table(line, "payload")
        if kind not in KINDS:
            raise UnknownLine(f"unknown kind {kind!r}")
        match kind:
            case "delta":
                return self._deltas.add(text(payload, "block"), text(payload, "kind"), text(payload, "text"))
            case "state":
                self.state = cast(State, text(payload, "state"))
            case "tool_result":
                self._deltas.close(text(payload, "call"))
            case "result":
                self._failed = payload.get("ok") is not True
        return [event(cast(Kind, kind), **payload)]
