"""The adapter of an agent's own screen, whose process is `workers.agents.tui.driver`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocol import AGENT_PROGRAMS
from workers.agents.script.program import ScriptAgent
from workers.contract.agent_events import AgentEvent
from workers.contract.fields import Fields, format_line, get_object, get_text
from workers.contract.spec import RunSpec
from workers.host import isolated_python


class ScreenAgent(ScriptAgent):
    """The adapter of one run of a program with its own screen (see `workers.contract.agent.AgentAdapter`).

    An unknown state counts as running until a hook reports the end of the turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._run_dir = Path()
        self._can_change_model = False
        self._turn_over = False

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        super().prepare(spec, run_dir)
        self._run_dir = run_dir
        self._can_change_model = AGENT_PROGRAMS[spec.program].can_change_model_on_screen

    def command(self, spec: RunSpec) -> list[str]:
        return isolated_python.build_argv("workers.agents.tui.driver", str(self._run_dir))

    def open(self, prompt: str) -> list[bytes]:
        """Send nothing, as the prompt is an argument of the program."""
        return []

    def set_model(self, uuid: str, model: str) -> list[bytes] | None:
        return [format_line({"type": "model", "uuid": uuid, "model": model})] if self._can_change_model else None

    def answer(self, answer: Mapping[str, Any]) -> list[bytes]:
        return [format_line({"type": "answer", "answer": answer})]

    def _read(self, line: Fields) -> list[AgentEvent]:
        kind = get_text(line, "kind")
        self._turn_over = kind == "result" or (self._turn_over and kind != "input")
        events = super()._read(line)
        if kind == "state" and get_text(get_object(line, "payload"), "state") == "unknown":
            self.state = "idle" if self._turn_over else "running"
        return events
