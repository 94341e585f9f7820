"""Codex's own screen: its command line, hooks and pane title, and its input.

The title shows the state: the folder's name when idle, a spinner before it when busy, `Action Required` when a
dialog waits. Text goes in as one paste, since fast typing counts as one anyway and would not be submitted.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path

from workers.agents.reset_times import find_retry_time
from workers.agents.tool_requests import PlanExit
from workers.agents.tui import hooks
from workers.agents.tui.screen import ScreenState
from workers.agents.usage_counter import UsageCounter
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, get_amount, get_count, get_object, get_text, parse_line, parse_object
from workers.contract.spec import RunSpec
from workers.host.tmux import Tmux

from . import items, permissions, trust
from .exec_stream import convert_item
from .program import MCP_SECONDS, CodexAgent, build_options, find_earlier_thread
from .user_configuration import get_trust_level
from .wordings import diagnose

PASTE_SECONDS = 0.15
"""How long the screen treats a paste as unfinished typing."""
PLAN_TAKEN = "Plan updated"
"""The result of an accepted call of `update_plan`."""
RESTRICTED_CHOICE = "› 1. Open restricted"
"""The chosen line of the dialog with which the screen opens a folder that is not trusted."""
_SPINNER = re.compile("[\u2800-\u28ff] ")


class CodexScreen:
    """The screen of Codex (see `workers.agents.tui.screen.Screen`)."""

    hides_dialog = True
    reconnect_command = ""
    model_command = ""
    model_dialog = ""

    def __init__(self) -> None:
        self._agent = CodexAgent()
        self._rollout = CodexRollout()

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._agent.prepare(spec, run_dir)
        call = {
            "type": "command",
            "command": shlex.join(hooks.build_command(run_dir)),
            "timeout": _get_hook_timeout(spec),
        }
        with (Path(spec.config_dir) / "config.toml").open("a", encoding="utf-8") as file:
            file.writelines(_format_hook(name, call) for name in hooks.EVENT_NAMES)
        trust.trust_hooks(spec, build_options(spec))

    def opening_dialog(self, spec: RunSpec) -> str:
        return RESTRICTED_CHOICE if get_trust_level(spec) == "untrusted" else ""

    def command(self, spec: RunSpec, run_dir: Path, prompt: str | None) -> list[str]:
        approval = permissions.get_approval_policy(spec)
        argv = [spec.binary or "codex", *build_options(spec), "-a", approval, "-C", spec.workspace]
        argv += ["-m", spec.model] if spec.model else []
        argv += ["-c", f"mcp_optional_startup_grace_ms={MCP_SECONDS * 1000}"] if spec.mcp_command else []
        if earlier_thread := find_earlier_thread(spec):
            argv = [argv[0], earlier_thread[0], *argv[1:], earlier_thread[1]]
        return [*argv, *(["--", prompt] if prompt is not None else [])]

    @property
    def plan_exit(self) -> PlanExit:
        return ()  # a sandbox cannot be left, so the run ends with its plan

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return self._agent.environment(spec)

    def transcripts(self, spec: RunSpec) -> list[Path]:
        return list((Path(spec.config_dir) / "sessions").rglob("*.jsonl"))

    def state(self, spec: RunSpec, pid: int, title: str) -> ScreenState:
        if "Action Required" in title:
            return "waiting"
        if _SPINNER.match(title):
            return "running"
        return "idle" if title == Path(spec.workspace).name else "unknown"

    def read(self, line: bytes) -> list[AgentEvent]:
        return parse_line(line, self._rollout.read)

    def submit(self, tmux: Tmux, pane: str, text: str) -> None:
        tmux.paste(pane, text)
        time.sleep(PASTE_SECONDS)
        tmux.send_keys(pane, "Enter")

    def clear(self, tmux: Tmux, pane: str) -> None:
        """Do nothing, as C-c in an empty input would end the program."""


def _get_hook_timeout(spec: RunSpec) -> int:
    """Return the hook timeout: a hook may wait as long as the run lasts."""
    return int(spec.limits.run_seconds)


def _format_hook(name: str, call: Fields) -> str:
    values = "".join(f"{key} = {json.dumps(value)}\n" for key, value in call.items())
    return f"\n[[hooks.{name}]]\n[[hooks.{name}.hooks]]\n{values}"


class CodexRollout:
    """The parser of a rollout file: complete items, the checklist, totals and ends of turns.

    The totals count the whole thread, so the usage of earlier processes is subtracted.
    """

    def __init__(self) -> None:
        self._counter = UsageCounter()
        self._before: Fields | None = None
        self._plans: dict[str, Fields] = {}

    def read(self, line: Fields) -> list[AgentEvent]:
        """Parse one decoded line into events. Other lines repeat these, or are internal to the program."""
        payload = get_object(line, "payload")
        if get_text(line, "type") == "response_item":
            return self._read_plan(payload)
        match get_text(payload, "type") if get_text(line, "type") == "event_msg" else "":
            case "item_completed":
                item = _convert_item(get_object(payload, "item"))
                return [*items.make_start_events(item, None), *items.make_end_events(item, None)]
            case "token_count":
                return self._read_usage(get_object(payload, "info"))
            case "task_complete":
                return [self._read_result(payload)]
            case "turn_aborted":
                return [make_event("result", ok=False, text="Interrupted.", stop_reason="interrupted")]
            case _:
                return []

    def _read_plan(self, item: Fields) -> list[AgentEvent]:
        """Read a call of `update_plan`, which has the whole list, once its result says that it was taken."""
        call = get_text(item, "call_id")
        match get_text(item, "type"):
            case "function_call" if get_text(item, "name") == "update_plan":
                self._plans[call] = parse_object(get_text(item, "arguments").encode())
            case "function_call_output" if plan := self._plans.pop(call, None):
                if get_text(item, "output") == PLAN_TAKEN:
                    return [items.make_plan_event(plan)]
        return []

    def _read_result(self, payload: Fields) -> AgentEvent:
        self._counter.turns += 1
        seconds, error = get_amount(payload, "duration_ms") / 1000, get_object(payload, "error")
        if not error:
            message_text = get_text(payload, "last_agent_message")
            return make_event("result", ok=True, text=message_text, stop_reason="completed", seconds=seconds)
        message_text = get_text(error, "message")
        failure = diagnose(message_text)
        retry_at = find_retry_time(failure, message_text)
        return make_event("result", ok=False, text=message_text, failure=failure, retry_at=retry_at, seconds=seconds)

    def _read_usage(self, info: Fields) -> list[AgentEvent]:
        total, last = get_object(info, "total_token_usage"), get_object(info, "last_token_usage")
        if self._before is None:
            self._before = {key: get_count(total, key) - get_count(last, key) for key in total}
        since = {key: max(0, get_count(total, key) - get_count(self._before, key)) for key in total}
        counter = self._counter
        counter.cache_read_tokens = get_count(since, "cached_input_tokens")
        counter.cache_write_tokens = get_count(since, "cache_write_input_tokens")
        cached = counter.cache_read_tokens + counter.cache_write_tokens
        counter.input_tokens, counter.output_tokens = (
            get_count(since, "input_tokens") - cached,
            get_count(since, "output_tokens"),
        )
        counter.context_tokens, counter.context_window = (
            get_count(last, "total_tokens"),
            get_count(info, "model_context_window"),
        )
        return [counter.make_event()]


def _convert_item(item: Fields) -> Fields:
    """Convert a rollout's item to the form of the app-server's."""
    converted = dict(convert_item(item))
    converted["type"] = converted["type"][:1].lower() + converted["type"][1:]
    match converted["type"]:
        case "commandExecution":
            words = converted.get("command")
            converted["command"] = (
                shlex.join(map(str, words)) if isinstance(words, list) else get_text(converted, "command")
            )
        case "agentMessage":
            converted["text"] = items.read_message_text(converted)
        case "reasoning":
            converted |= {"summary": converted.get("summaryText"), "content": converted.get("rawContent")}
    return converted
