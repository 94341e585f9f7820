"""Everything a wrapper has to tell: without secrets, into the spool first, then into the pane."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from protocol import EventType
from workers.contract.agent_events import AgentEvent, clip_text, make_event
from workers.contract.redaction import Redaction

from .pane import PaneWriter
from .run_facts import RunFacts
from .spool import Spool

MAX_STDERR_BYTES = 1024 * 1024
"""How much of an agent's stderr is kept."""
MAX_PIECE_LENGTH = 8192


class Recorder:
    """Writes down a run's events, and knows what they amount to (`facts`)."""

    def __init__(self, spool: Spool, pane: PaneWriter, redaction: Redaction) -> None:
        self.facts = RunFacts()
        self._spool = spool
        self._pane = pane
        self._redaction = redaction

    def record_event(self, agent_event: AgentEvent) -> None:
        """An event of the agent; a receipt that would take a message back is none."""
        if agent_event.kind == "receipt" and self.facts.has_receipt(agent_event.payload):
            return
        clean = self._redaction.redact_event(agent_event)
        self._store("agent." + clean.kind, clean.payload)
        self._pane.show(clean.kind, clean.payload)

    def run(self, event_type: EventType, **payload: object) -> None:
        """An event of the wrapper itself, such as `check_ended`."""
        clean = self._redaction.redact_event(make_event("notice", **payload)).payload
        self._store(event_type.value, clean)
        self._pane.show(event_type.value, clean)

    def say(self, text: str, level: str = "info") -> None:
        """A remark of the wrapper about the run."""
        self.record_event(make_event("notice", text=text, level=level))

    def close(self, farewell: str) -> None:
        """The last line in the pane."""
        self._pane.say(farewell)
        self._pane.close()

    def _store(self, event_type: str, payload: Mapping[str, Any]) -> None:
        self._spool.append(event_type, payload)
        self.facts.take(event_type, payload)


class StderrRecorder:
    """An agent's stderr: kept in `stderr.log` and told as events, up to a limit."""

    def __init__(self, log: Path, recorder: Recorder, redaction: Redaction) -> None:
        self._file = log.open("wb", buffering=0)
        self._recorder = recorder
        self._redaction = redaction
        self._pending = ""
        self._room = MAX_STDERR_BYTES
        self.tail = ""

    def feed(self, chunk: bytes) -> None:
        """Take what has arrived; whole lines are passed on, and pieces of a line without an end."""
        self._pending += chunk.decode("utf-8", "replace")
        ready = self._pending.rfind("\n") + 1
        if not ready and len(self._pending) > MAX_PIECE_LENGTH:
            self._pending = self._redaction.redact_text(self._pending)
            ready = len(self._pending) - self._redaction.measure_secret_prefix(self._pending)
        if ready:
            self._record_text(self._pending[:ready])
            self._pending = self._pending[ready:]

    def close(self) -> None:
        if self._pending:
            self._record_text(self._pending)
        self._file.close()

    def _record_text(self, text: str) -> None:
        text = self._redaction.redact_text(text)
        self.tail = (self.tail + text)[-MAX_PIECE_LENGTH:]
        if self._room <= 0:
            return
        self._room -= len(text)
        if self._room <= 0:
            text = clip_text(text, 1024) + "\n[more of stderr is not kept]\n"
        with suppress(OSError):  # a full disk does not end the run
            self._file.write(text.encode("utf-8", "replace"))
        self._recorder.run(EventType.RUN_OUTPUT, stream="stderr", text=text)
