"""The hooks of a run's program: how they are called, what they said, and the answers they wait for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.contract.fields import Fields, get_object, get_text, parse_object
from workers.host import files

from .file_tail import FileTail

LOG_FILE = "hooks.jsonl"
ANSWERS_FOLDER = "answers"
EVENT_NAMES = ("SessionStart", "UserPromptSubmit", "PermissionRequest", "Stop")
"""The events that the hooks of every program with a screen have in common."""
PROGRAM = Path(__file__).with_name("hook.py")


@dataclass(frozen=True, slots=True)
class Hook:
    """One call: the event's name, its fields, and the name under which a request for permission is answered."""

    name: str
    fields: Fields
    request: str


class Hooks:
    """The calls of one run, in order."""

    def __init__(self, run_dir: Path) -> None:
        self._answers = run_dir / ANSWERS_FOLDER
        self._answers.mkdir(mode=0o700, exist_ok=True)
        log = run_dir / LOG_FILE
        self._tail = FileTail(log, log.stat().st_size if log.exists() else 0)

    def read(self) -> list[Hook]:
        """The calls since the last look; a line that cannot be read is passed over."""
        return [hook for line in self._tail.read() if (hook := _parse_hook(line))]

    def answer(self, request: str, decision: Mapping[str, Any] | None) -> None:
        """Let a request for permission go on: with a decision, or with None to leave it to the program's dialog."""
        output = {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decision}}
        files.replace(self._answers / f"{request}.json", json.dumps(output).encode() if decision else b"")


def build_command(run_dir: Path) -> list[str]:
    """The argv of the hook program."""
    return [sys.executable, "-I", "-S", str(PROGRAM), str(run_dir)]


def _parse_hook(line: bytes) -> Hook | None:
    call = parse_object(line)
    fields = get_object(call, "hook")
    return Hook(get_text(fields, "hook_event_name"), fields, get_text(call, "request")) if fields else None
