"""The readable account of a run's events that a person sees in its pane, also written to a log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from protocol import EventType
from redaction import strip_controls
from workers.contract.fields import get_objects

MAX_LOG_BYTES = 8 * 1024 * 1024
MAX_RESULT_LINES = 12
SCREEN_FD = 1


class PaneWriter:
    """Writes to the terminal and to the log. Neither can block or end a run."""

    def __init__(self, log: Path, limit: int = MAX_LOG_BYTES) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._room = limit - os.fstat(self._log).st_size
        os.set_blocking(SCREEN_FD, False)  # a stopped terminal must not stop the run

    def show(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Print one event (`kind` is its type without `agent.`). Kinds without a formatter are not shown."""
        account = FORMATTERS.get(kind)
        if account and (text := account(payload)):
            self.say(text)

    def say(self, text: str) -> None:
        """Print a text with the time of day, without control characters."""
        first, *more = strip_controls(text).rstrip().split("\n")
        lines = [f"{time.strftime('%H:%M:%S')}  {first}", *(f"          {line}" for line in more)]
        self._print(("\n".join(lines) + "\n").encode())

    def close(self) -> None:
        os.close(self._log)

    def _print(self, data: bytes) -> None:
        _write(SCREEN_FD, data)
        if self._room <= 0:
            return
        self._room -= len(data)
        _write(self._log, data if self._room > 0 else b"[the log has reached its limit]\n")


def _write(handle: int, data: bytes) -> None:
    try:
        os.write(handle, data)
    except OSError:
        return  # the pane is closed or stopped, or the disk is full: the run goes on


def _format_call(payload: Mapping[str, Any]) -> str:
    return f"▸ {payload.get('name', '')}: {payload.get('title', '')}"


def _format_call_result(payload: Mapping[str, Any]) -> str:
    lines = str(payload.get("output", "")).strip().split("\n")
    if len(lines) > MAX_RESULT_LINES:
        lines = [f"[{len(lines) - MAX_RESULT_LINES} more lines]", *lines[-MAX_RESULT_LINES:]]
    mark = "✗" if payload.get("error") else "✓"
    return "\n".join([f"{mark} {lines[0]}", *lines[1:]])


def _format_question(payload: Mapping[str, Any]) -> str:
    texts = [str(question.get("text", "")) for question in get_objects(payload, "questions")]
    return "? " + "\n".join(texts)


def _format_step(payload: Mapping[str, Any]) -> str:
    if payload.get("state") == "started":
        return f"Step {payload.get('step')}: {payload.get('title')}"
    return f"Step {payload.get('step')}: {payload.get('status')}"


def _format_result(payload: Mapping[str, Any]) -> str:
    return "Turn ended." if payload.get("ok") else f"Turn failed: {payload.get('text', '')}"


def _format_session(payload: Mapping[str, Any]) -> str:
    return f"{payload.get('program')} {payload.get('version') or ''} · {payload.get('model') or 'default model'}"


FORMATTERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "session": _format_session,
    "text": lambda payload: str(payload.get("text", "")),
    "tool_call": _format_call,
    "tool_result": _format_call_result,
    "question": _format_question,
    "approval": lambda payload: f"? May it use {payload.get('title')}",
    "input": lambda payload: f"» {payload.get('text', '')}",
    "retry": lambda payload: f"Retry {payload.get('attempt')}: {payload.get('message')}",
    "error": lambda payload: f"Error: {payload.get('message')}",
    "notice": lambda payload: str(payload.get("text", "")),
    "progress": lambda payload: str(payload.get("text", "")),
    "step": _format_step,
    "result": _format_result,
    EventType.RUN_OUTPUT: lambda payload: f"! {payload.get('text', '')}",
}
