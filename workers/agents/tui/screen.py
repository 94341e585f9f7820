"""What a driver needs to know of one program's screen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from workers.contract.agent_events import AgentEvent, strip_controls
from workers.contract.spec import PROMPT, RunSpec
from workers.host.tmux import Tmux

ScreenState = Literal["running", "waiting", "idle", "unknown"]

MAX_ARGUMENT_BYTES = 96 * 1024
"""The kernel takes no single argument above 128 KB."""
COMMAND_PREFIXES = ("!", "/", "#", "@", "-")
"""What at the beginning of an input makes it a command, or an option where it stands in argv."""


class Screen(Protocol):
    """One program with its own screen."""

    hides_dialog: bool
    """Whether the program shows its dialog only after the permission hook has ended, instead of beside it."""

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        """Write the configuration, with hooks that call `hooks.command(run_dir)`."""

    def command(self, spec: RunSpec, run_dir: Path, prompt: str | None) -> list[str]:
        """The argv; a prompt in it is submitted at once, without one the screen waits for a person."""

    def environment(self, spec: RunSpec) -> dict[str, str]:
        """What the program needs beyond the run's own environment."""

    def transcripts(self, spec: RunSpec) -> list[Path]:
        """The files of this configuration folder that may be continued."""

    def state(self, spec: RunSpec, pid: int, title: str) -> ScreenState:
        """What the program does, by what it tells itself; `unknown` when it tells nothing that is understood."""

    def read(self, line: bytes) -> list[AgentEvent]:
        """The events of one line of its transcript. Never raises."""

    def submit(self, tmux: Tmux, pane: str, text: str) -> None:
        """Type a text into the idle screen and send it off."""

    def clear(self, tmux: Tmux, pane: str) -> None:
        """Empty the input of a screen whose turn was interrupted."""


def build_prompt_argument(spec: RunSpec, run_dir: Path) -> str | None:
    """The first prompt as an argument; one that is too long is named by its file. None: the person begins."""
    if spec.attended and spec.resume:
        return None
    file = run_dir / PROMPT
    prompt = format_typed_text(file.read_text(encoding="utf-8"))
    if len(prompt.encode()) <= MAX_ARGUMENT_BYTES:
        return prompt
    return f"Your task is too long for this line. Read the whole file {file} and do what it says."


def format_typed_text(text: str) -> str:
    """A text as it can be typed: no control characters, tabs as spaces, and nothing that would be a command."""
    text = strip_controls(text).replace("\t", "    ").strip()
    text = f"Message: {text}" if text.startswith(COMMAND_PREFIXES) else text
    return f"{text} " if text.rpartition(" ")[2].rpartition("\n")[2].startswith(("@", "/")) else text
