"""Claude Code's own screen: its command line, hooks and state file, and its input.

`sessions/<pid>.json` in the configuration folder says busy, idle or waiting; it is undocumented, so where it is absent
or belongs to an earlier process the state is unknown. Text is typed in pieces, since a burst would count as a paste.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from workers.agents.permissions import RequestPolicy
from workers.agents.tool_calls import COORDINATION
from workers.agents.tool_requests import PlanExit
from workers.agents.tui import hooks
from workers.agents.tui.screen import ScreenState
from workers.agents.usage_counter import UsageCounter
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, get_count, get_object, get_objects, get_text, parse_line, parse_object
from workers.contract.spec import PROMPT, RunSpec
from workers.host import files, processes
from workers.host.tmux import Tmux

from . import permissions, user_configuration
from .program import ClaudeAgent, build_read_rule, build_session_options
from .stream import SYNTHETIC, ClaudeStream

EVENT_NAMES = (*hooks.EVENT_NAMES, "StopFailure", "SessionEnd")
_COMMAND = re.compile("<command-name>/([a-z-]+)</command-name>")
_COMMAND_OUTPUT = re.compile(r"<local-command-(?:stdout|stderr)>(.*)</local-command-\w+>", re.DOTALL)
_STATES: dict[str, ScreenState] = {"busy": "running", "idle": "idle", "waiting": "waiting"}


class ClaudeScreen:
    """The screen of Claude Code (see `workers.agents.tui.screen.Screen`)."""

    hides_dialog = False
    reconnect_command = f"/mcp reconnect {COORDINATION}"
    model_command = "/model {}"
    model_dialog = "Switch model?"

    def __init__(self) -> None:
        self._agent = ClaudeAgent()
        self._transcript = ClaudeTranscript()

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._agent.prepare(spec, run_dir)
        self._transcript = ClaudeTranscript(_read_line_ids(self.transcripts(spec)) if spec.forks else frozenset())
        folder = Path(spec.config_dir)
        settings = json.loads((folder / "settings.json").read_bytes())
        settings["skipDangerousModePermissionPrompt"] = True
        settings["permissions"]["allow"].append(build_read_rule(run_dir / PROMPT))
        files.replace(folder / "settings.json", json.dumps(settings).encode())
        call = {
            "type": "command",
            "command": shlex.join(hooks.build_command(run_dir)),
            "timeout": _get_hook_timeout(spec),
        }
        settings["hooks"] = {name: [{"hooks": [call]}] for name in EVENT_NAMES}
        files.replace(folder / permissions.SETTINGS_FILE, json.dumps(settings).encode())

    def opening_dialog(self, spec: RunSpec) -> str:
        return ""

    def command(self, spec: RunSpec, run_dir: Path, prompt: str | None) -> list[str]:
        folder = Path(spec.config_dir)
        argv = [spec.binary or "claude", *build_session_options(spec)]
        argv += user_configuration.build_options(spec)
        argv += ["--mcp-config", str(folder / "mc-coord.json"), "--strict-mcp-config"]
        argv += permissions.build_options(spec)
        options = {"--model": spec.model, "--effort": spec.effort}
        argv += [word for name, value in options.items() if value for word in (name, value)]
        return [*argv, *spec.argv, *(["--", prompt] if prompt is not None else [])]

    @property
    def plan_exit(self) -> PlanExit:
        return self._agent.plan_exit

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return self._agent.environment(spec) | {"CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1"}

    def transcripts(self, spec: RunSpec) -> list[Path]:
        return list(Path(spec.config_dir).glob("projects/*/*.jsonl"))

    def state(self, spec: RunSpec, pid: int, title: str) -> ScreenState:
        try:
            session = parse_object((Path(spec.config_dir) / "sessions" / f"{pid}.json").read_bytes())
        except OSError:
            return "unknown"
        identity = processes.identify(pid)
        if identity is None or get_text(session, "procStart") != identity.started:
            return "unknown"
        return _STATES.get(get_text(session, "status"), "unknown")

    def read(self, line: bytes) -> list[AgentEvent]:
        return parse_line(line, self._transcript.read)

    def submit(self, tmux: Tmux, pane: str, text: str) -> None:
        tmux.send_text(pane, text)
        tmux.send_keys(pane, "Enter")

    def clear(self, tmux: Tmux, pane: str) -> None:
        tmux.send_keys(pane, "C-c")  # an interrupted prompt is put back into the input


def _read_line_ids(transcripts: list[Path]) -> frozenset[str]:
    """Read the identities of the lines in these transcripts, which a fork repeats in its own."""
    line_ids = set()
    for file in transcripts:
        with file.open("rb") as lines:
            line_ids |= {get_text(parse_object(line), "uuid") for line in lines}
    return frozenset(line_ids - {""})


def _get_hook_timeout(spec: RunSpec) -> int:
    """Return the hook timeout: a hook may wait as long as the run lasts."""
    return int(spec.limits.run_seconds)


class ClaudeTranscript:
    """The parser of a transcript, which skips the program's internal lines.

    Its messages have the form of the stream's, one line for each block, with the final usage in every line.
    """

    def __init__(self, earlier_ids: frozenset[str] = frozenset()) -> None:
        self._told = earlier_ids
        self._stream = ClaudeStream(RequestPolicy(), ())
        self._counter = UsageCounter()
        self._message = ""
        self._command = ""

    def read(self, line: Fields) -> list[AgentEvent]:
        """Parse one decoded line into events."""
        if line.get("isSidechain") is True or get_text(line, "uuid") in self._told:
            return []
        match get_text(line, "type"):
            case "assistant":
                return self._read_assistant(line)
            case "user" if text := get_text(get_object(line, "message"), "content"):
                return self._read_command(text)
            case "user":
                results = [
                    row
                    for row in get_objects(get_object(line, "message"), "content")
                    if get_text(row, "type") == "tool_result"
                ]
                return self._stream.read({"type": "user", "message": {"content": results}})
            case "system" if get_text(line, "subtype") == "compact_boundary":
                return [make_event("notice", level="info", text="Compacted the conversation.")]
            case "system" if get_text(line, "subtype") == "local_command":
                return self._read_command(get_text(line, "content"))
            case _:
                return []

    def _read_command(self, text: str) -> list[AgentEvent]:
        """Read a command that was typed into the screen, or its output: only that of `/model` is an event."""
        if command := _COMMAND.match(text):
            self._command = command[1]
        output = _COMMAND_OUTPUT.fullmatch(text)
        if output is None or self._command != "model":
            return []
        words = output[1].replace("`", "")
        return [make_event("model", ok=words.startswith(("Set model to", "Kept model as")), detail=words)]

    def _read_assistant(self, line: Fields) -> list[AgentEvent]:
        message = get_object(line, "message")
        failed = line.get("isApiErrorMessage") is True
        message_line = {
            "type": "assistant",
            "message": message,
            "is_api_error_message": failed,
            "error": get_text(line, "error"),
        }
        return [*self._stream.read(message_line), *self._read_usage(message)]

    def _read_usage(self, message: Fields) -> list[AgentEvent]:
        """Read the totals, once for every message. The screen has no costs."""
        name, usage = get_text(message, "id"), get_object(message, "usage")
        if name == self._message or get_text(message, "model") == SYNTHETIC:
            return []
        self._message = name
        counter = self._counter
        counter.turns += 1
        counter.input_tokens += get_count(usage, "input_tokens")
        counter.output_tokens += get_count(usage, "output_tokens")
        counter.cache_read_tokens += get_count(usage, "cache_read_input_tokens")
        counter.cache_write_tokens += get_count(usage, "cache_creation_input_tokens")
        read = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        counter.context_tokens = sum(get_count(usage, key) for key in read)
        return [counter.make_event()]
