"""Claude Code's own screen: its command line, hooks and state file, and how it is typed into.

`sessions/<pid>.json` in the configuration folder tells busy, idle or waiting; it is undocumented, so where it is absent
or belongs to an earlier process the state is unknown. Text is typed in pieces, since a burst would count as a paste.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from workers.agents.claude.program import MODES, ClaudeAgent, identity
from workers.agents.claude.stream import SYNTHETIC, ClaudeStream
from workers.agents.usage_counter import Tally
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, count, read_json, read_line, rows, table, text
from workers.contract.spec import RunSpec
from workers.host import files, processes
from workers.host.tmux import Tmux

from . import hooks
from .screen import Known

SETTINGS = "mc-hooks.json"
EVENTS = (*hooks.EVENTS, "StopFailure", "SessionEnd")
_KNOWN: dict[str, Known] = {"busy": "running", "idle": "idle", "waiting": "waiting"}


class ClaudeScreen:
    """See `workers.agents.tui.screen.Screen`."""

    hides_dialog = False

    def __init__(self) -> None:
        self._agent = ClaudeAgent()
        self._transcript = ClaudeTranscript()

    def prepare(self, spec: RunSpec, run_dir: Path) -> None:
        self._agent.prepare(spec, run_dir)
        self._transcript = ClaudeTranscript(_lines_of(self.transcripts(spec)) if spec.forks else frozenset())
        folder = Path(spec.config_dir)
        settings = json.loads((folder / "settings.json").read_bytes())
        settings["skipDangerousModePermissionPrompt"] = True
        settings["permissions"]["allow"].append(f"Read(/{run_dir / 'prompt.md'})")
        files.replace(folder / "settings.json", json.dumps(settings).encode())
        call = {"type": "command", "command": shlex.join(hooks.command(run_dir)), "timeout": _seconds(spec)}
        told = {"hooks": {name: [{"hooks": [call]}] for name in EVENTS}}
        files.replace(folder / SETTINGS, json.dumps(told).encode())

    def command(self, spec: RunSpec, run_dir: Path, prompt: str | None) -> list[str]:
        folder = Path(spec.config_dir)
        argv = [spec.binary or "claude", *identity(spec)]
        argv += ["--settings", str(folder / SETTINGS), "--mcp-config", str(folder / "mc-coord.json")]
        argv += ["--strict-mcp-config", "--disallowedTools", "SendMessage,ListAgents"]
        chosen = {"--model": spec.model, "--effort": spec.effort, "--permission-mode": MODES.get(spec.permissions)}
        argv += [word for name, value in chosen.items() if value for word in (name, value)]
        return [*argv, *spec.argv, *(["--", prompt] if prompt is not None else [])]

    def environment(self, spec: RunSpec) -> dict[str, str]:
        return self._agent.environment(spec) | {"CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1"}

    def transcripts(self, spec: RunSpec) -> list[Path]:
        return list(Path(spec.config_dir).glob("projects/*/*.jsonl"))

    def state(self, spec: RunSpec, pid: int, title: str) -> Known:
        try:
            told = read_json((Path(spec.config_dir) / "sessions" / f"{pid}.json").read_bytes())
        except OSError:
            return "unknown"
        identity = processes.identify(pid)
        if identity is None or text(told, "procStart") != identity.started:
            return "unknown"
        return _KNOWN.get(text(told, "status"), "unknown")

    def read(self, line: bytes) -> list[Event]:
        return read_line(line, self._transcript.read)

    def submit(self, tmux: Tmux, pane: str, text: str) -> None:
        tmux.send_text(pane, text)
        tmux.send_keys(pane, "Enter")

    def clear(self, tmux: Tmux, pane: str) -> None:
        tmux.send_keys(pane, "C-c")  # an interrupted prompt is put back into the box


def _lines_of(transcripts: list[Path]) -> frozenset[str]:
    """The identities of the lines in these transcripts: a fork repeats them in its own."""
    named = set()
    for file in transcripts:
        with file.open("rb") as lines:
            named |= {text(read_json(line), "uuid") for line in lines}
    return frozenset(named - {""})


def _seconds(spec: RunSpec) -> int:
    """A hook may wait as long as the run lasts."""
    return int(spec.limits.run_seconds)


class ClaudeTranscript:
    """Reads the conversation out of a transcript, whose other lines are the program's bookkeeping.

    Its messages have the form of the stream's, one line for each block, with the final usage in every line.
    """

    def __init__(self, told: frozenset[str] = frozenset()) -> None:
        self._told = told
        self._stream = ClaudeStream("default", ())
        self._tally = Tally()
        self._message = ""

    def read(self, line: Fields) -> list[Event]:
        """The events of one decoded line."""
        if line.get("isSidechain") is True or text(line, "uuid") in self._told:
            return []
        match text(line, "type"):
            case "assistant":
                return self._assistant(line)
            case "user":
                results = [row for row in rows(table(line, "message"), "content") if text(row, "type") == "tool_result"]
                return self._stream.read({"type": "user", "message": {"content": results}})
            case "system" if text(line, "subtype") == "compact_boundary":
                return [event("notice", level="info", text="Compacted the conversation.")]
            case _:
                return []

    def _assistant(self, line: Fields) -> list[Event]:
        message = table(line, "message")
        failed = line.get("isApiErrorMessage") is True
        told = {"type": "assistant", "message": message, "is_api_error_message": failed, "error": text(line, "error")}
        return [*self._stream.read(told), *self._usage(message)]

    def _usage(self, message: Fields) -> list[Event]:
        """The totals, once for every message. The screen tells no money."""
        name, used = text(message, "id"), table(message, "usage")
        if name == self._message or text(message, "model") == SYNTHETIC:
            return []
        self._message = name
        tally = self._tally
        tally.turns += 1
        tally.input_tokens += count(used, "input_tokens")
        tally.output_tokens += count(used, "output_tokens")
        tally.cache_read_tokens += count(used, "cache_read_input_tokens")
        tally.cache_write_tokens += count(used, "cache_creation_input_tokens")
        read = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        tally.context_tokens = sum(count(used, key) for key in read)
        return [tally.event()]
