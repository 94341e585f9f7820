"""Codex's own screen: its command line, hooks and pane title, and how it is typed into.

The title tells what it does: the folder's name when idle, a spinner before it when busy, `Action Required` when a
dialog waits. Text goes in as one paste, since fast typing counts as one anyway and would not be sent off.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path

from workers.agents.codex import items
from workers.agents.codex.exec_stream import modern
from workers.agents.codex.program import MCP_SECONDS, POLICIES, CodexAgent, earlier, options
from workers.agents.error_classifier import diagnose, reset_time
from workers.agents.usage_counter import Tally
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, amount, count, read_line, table, text
from workers.contract.spec import RunSpec
from workers.host.tmux import Tmux

from . import codex_trust, hooks
from .screen import Known

PASTE_SECONDS = 0.15
"""How long the screen takes a paste for unfinished typing."""
_SPINNER = re.compile("[\u2800-\u28ff] ")


class CodexScreen:
    """See `workers.agents.tui.screen.Screen`."""

    hides_dialog = True

    def __init__(self) -> None:
        self._agent = CodexAgent()
        self._rollout = CodexRollout()

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._agent.prepare(spec, run_dir)
        call = {"type": "command", "command": shlex.join(hooks.command(run_dir)), "timeout": _seconds(spec)}
        with (Path(spec.config_dir) / "config.toml").open("a", encoding="utf-8") as file:
            file.writelines(_hook(name, call) for name in hooks.EVENTS)
        codex_trust.trust(spec, spec.environment | self.environment(spec))

    def command(self, spec: RunSpec, run_dir: Path, prompt: str | None) -> list[str]:
        approval, sandbox = POLICIES[spec.permissions]
        argv = [spec.binary or "codex", *options(spec), "-a", approval, "-s", sandbox, "-C", spec.workspace]
        argv += ["-m", spec.model] if spec.model else []
        argv += ["-c", f"mcp_optional_startup_grace_ms={MCP_SECONDS * 1000}"] if spec.mcp_command else []
        if known := earlier(spec):
            argv = [argv[0], known[0], *argv[1:], known[1]]
        return [*argv, *(["--", prompt] if prompt is not None else [])]

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return self._agent.environment(spec)

    def transcripts(self, spec: RunSpec) -> list[Path]:
        return list((Path(spec.config_dir) / "sessions").rglob("*.jsonl"))

    def state(self, spec: RunSpec, pid: int, title: str) -> Known:
        if "Action Required" in title:
            return "waiting"
        if _SPINNER.match(title):
            return "running"
        return "idle" if title == Path(spec.workspace).name else "unknown"

    def read(self, line: bytes) -> list[Event]:
        return read_line(line, self._rollout.read)

    def submit(self, tmux: Tmux, pane: str, text: str) -> None:
        tmux.paste(pane, text)
        time.sleep(PASTE_SECONDS)
        tmux.send_keys(pane, "Enter")

    def clear(self, tmux: Tmux, pane: str) -> None:
        """Nothing: C-c in an empty input would end the program."""


def _seconds(spec: RunSpec) -> int:
    """A hook may wait as long as the run lasts."""
    return int(spec.limits.run_seconds)


def _hook(name: str, call: Fields) -> str:
    values = "".join(f"{key} = {json.dumps(value)}\n" for key, value in call.items())
    return f"\n[[hooks.{name}]]\n[[hooks.{name}.hooks]]\n{values}"


class CodexRollout:
    """Reads the conversation out of a rollout file: complete items, totals and ends of turns.

    The totals count the whole thread, so what an earlier process has used is taken off.
    """

    def __init__(self) -> None:
        self._tally = Tally()
        self._before: Fields | None = None

    def read(self, line: Fields) -> list[Event]:
        """The events of one decoded line; other lines repeat these, or are the program's bookkeeping."""
        payload = table(line, "payload")
        match text(payload, "type") if text(line, "type") == "event_msg" else "":
            case "item_completed":
                item = _item(table(payload, "item"))
                return [*items.started(item, None), *items.completed(item, None)]
            case "token_count":
                return self._usage(table(payload, "info"))
            case "task_complete":
                return [self._result(payload)]
            case "turn_aborted":
                return [event("result", ok=False, text="Interrupted.", stop_reason="interrupted")]
            case _:
                return []

    def _result(self, payload: Fields) -> Event:
        self._tally.turns += 1
        seconds, error = amount(payload, "duration_ms") / 1000, table(payload, "error")
        if not error:
            said = text(payload, "last_agent_message")
            return event("result", ok=True, text=said, stop_reason="completed", seconds=seconds)
        said = text(error, "message")
        failure = diagnose(said)
        retry_at = reset_time(said) if failure == "usage_limit" else None
        return event("result", ok=False, text=said, failure=failure, retry_at=retry_at, seconds=seconds)

    def _usage(self, info: Fields) -> list[Event]:
        total, last = table(info, "total_token_usage"), table(info, "last_token_usage")
        if self._before is None:
            self._before = {key: count(total, key) - count(last, key) for key in total}
        since = {key: max(0, count(total, key) - count(self._before, key)) for key in total}
        tally = self._tally
        tally.cache_read_tokens = count(since, "cached_input_tokens")
        tally.cache_write_tokens = count(since, "cache_write_input_tokens")
        cached = tally.cache_read_tokens + tally.cache_write_tokens
        tally.input_tokens, tally.output_tokens = count(since, "input_tokens") - cached, count(since, "output_tokens")
        tally.context_tokens, tally.context_window = count(last, "total_tokens"), count(info, "model_context_window")
        return [tally.event()]


def _item(item: Fields) -> Fields:
    """A rollout's item in the form of the app-server's."""
    named = dict(modern(item))
    named["type"] = named["type"][:1].lower() + named["type"][1:]
    match named["type"]:
        case "commandExecution":
            words = named.get("command")
            named["command"] = shlex.join(map(str, words)) if isinstance(words, list) else text(named, "command")
        case "agentMessage":
            named["text"] = items.spoken(named)
        case "reasoning":
            named |= {"summary": named.get("summaryText"), "content": named.get("rawContent")}
    return named
