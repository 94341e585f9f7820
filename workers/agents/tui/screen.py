"""The interface between the driver and one program's screen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from redaction import strip_controls
from workers.agents.tool_requests import PlanExit
from workers.contract.agent_events import AgentEvent
from workers.contract.spec import PROMPT, RunSpec
from workers.host.tmux import Tmux

ScreenState = Literal["running", "waiting", "idle", "unknown"]

MAX_ARGUMENT_BYTES = 96 * 1024
"""The kernel accepts no single argument above 128 KB."""
COMMAND_PREFIXES = ("!", "/", "#", "@", "-")
"""Prefixes that turn an input into a command, or an argument into an option."""


class Screen(Protocol):
    """One program with its own screen."""

    hides_dialog: bool
    """True when the program shows its dialog only after the permission hook has ended, instead of beside it."""
    reconnect_command: str
    """The input that connects the program to the coordination server again, empty without one."""
    model_command: str
    """The input that changes the model, with `{}` for its name, empty without one."""
    model_dialog: str
    """A line of the dialog that may follow `model_command`, and that Enter confirms. Empty where none does."""

    @property
    def plan_exit(self) -> PlanExit:
        """The permission updates with which an approved plan ends the planning, as soon as the screen is prepared."""

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        """Write the configuration, with hooks that call `hooks.build_command(run_dir)`."""

    def opening_dialog(self, spec: RunSpec) -> str:
        """Return the line of a dialog that the program shows first, and that Enter confirms. Empty where it shows none."""

    def command(self, spec: RunSpec, run_dir: Path, prompt: str | None) -> list[str]:
        """Build the argv. A prompt in it is submitted at once, without one the screen waits for a person."""

    def environment(self, spec: RunSpec) -> dict[str, str]:
        """Build the environment that the program needs in addition to the run's own."""

    def transcripts(self, spec: RunSpec) -> list[Path]:
        """List the transcripts in the configuration directory that may be continued."""

    def state(self, spec: RunSpec, pid: int, title: str) -> ScreenState:
        """Determine the program's state from its own reports, `unknown` without one that is understood."""

    def read(self, line: bytes) -> list[AgentEvent]:
        """Parse one line of its transcript into events. Never raises."""

    def submit(self, tmux: Tmux, pane: str, text: str) -> None:
        """Type a text into the idle screen and submit it."""

    def clear(self, tmux: Tmux, pane: str) -> None:
        """Empty the input of a screen whose turn was interrupted."""


def build_prompt_argument(spec: RunSpec, run_dir: Path) -> str | None:
    """Build the first prompt as an argument, from its file. None when a person begins."""
    return format_prompt_argument(spec, run_dir, (run_dir / PROMPT).read_text(encoding="utf-8"))


def format_prompt_argument(spec: RunSpec, run_dir: Path, prompt: str) -> str | None:
    """Format a prompt as an argument. A too long one is replaced by its file's name. None when a person begins."""
    if spec.attended and spec.resume:
        return None
    file = run_dir / PROMPT
    argument = format_typed_text(prompt)
    if len(argument.encode()) <= MAX_ARGUMENT_BYTES:
        return argument
    return f"Your task is too long for this line. Read the whole file {file} and do what it says."


def format_typed_text(text: str) -> str:
    """Convert a text so that it can be typed: no control characters, tabs as spaces, no command prefix."""
    text = strip_controls(text).replace("\t", "    ").strip()
    text = f"Message: {text}" if text.startswith(COMMAND_PREFIXES) else text
    return f"{text} " if text.rpartition(" ")[2].rpartition("\n")[2].startswith(("@", "/")) else text
