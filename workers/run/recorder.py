"""The recorder of a wrapper: redacts and cuts each event, then writes it to the spool and to the pane."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from protocol import EventType
from redaction import Redaction, StreamRedaction, cut_text
from workers.contract.agent_events import AgentEvent, clean_event, make_event

from .pane import PaneWriter
from .run_facts import RunFacts
from .spool import Spool

MAX_STDERR_BYTES = 1024 * 1024
"""How much of an agent's stderr is recorded."""
MAX_PIECE_LENGTH = 8192


class Recorder:
    """Records a run's events and derives the run's `facts` from them."""

    def __init__(self, spool: Spool, pane: PaneWriter, redaction: Redaction) -> None:
        self.facts = RunFacts()
        self._spool = spool
        self._pane = pane
        self._redaction = redaction

    def record_event(self, agent_event: AgentEvent) -> None:
        """Record an event of the agent. A receipt that would move a message backwards is ignored."""
        if agent_event.kind == "receipt" and self.facts.has_receipt(agent_event.payload):
            return
        clean = clean_event(agent_event, self._redaction)
        self._store("agent." + clean.kind, clean.payload)
        self._pane.show(clean.kind, clean.payload)

    def run(self, event_type: EventType, **payload: object) -> None:
        """Record an event of the wrapper itself, such as `check_ended`."""
        clean = clean_event(make_event("notice", **payload), self._redaction).payload
        self._store(event_type.value, clean)
        self._pane.show(event_type.value, clean)

    def say(self, text: str, level: str = "info") -> None:
        """Record a notice of the wrapper about the run."""
        self.record_event(make_event("notice", text=text, level=level))

    def close(self, farewell: str) -> None:
        """Print the last line and close the pane's log."""
        self._pane.say(farewell)
        self._pane.close()

    def _store(self, event_type: str, payload: Mapping[str, Any]) -> None:
        self._spool.append(event_type, payload)
        self.facts.take(event_type, payload)


class StderrRecorder:
    """Records an agent's stderr in `stderr.log` and as events, up to a limit."""

    def __init__(self, log: Path, recorder: Recorder, redaction: Redaction) -> None:
        self._file = log.open("wb", buffering=0)
        self._recorder = recorder
        self._letters = codecs.getincrementaldecoder("utf-8")("replace")
        self._stream = StreamRedaction(redaction)
        self._pending = ""
        self._room = MAX_STDERR_BYTES
        self.tail = ""

    def feed(self, chunk: bytes) -> None:
        """Take a chunk. Whole lines are recorded at once, and a very long line in pieces."""
        self._pending += self._stream.feed(self._letters.decode(chunk))
        is_long = len(self._pending) > MAX_PIECE_LENGTH
        if ready := self._pending.rfind("\n") + 1 or is_long * len(self._pending):
            self._record_text(self._pending[:ready])
            self._pending = self._pending[ready:]

    def close(self) -> None:
        if rest := self._pending + self._stream.close():
            self._record_text(rest)
        self._file.close()

    def _record_text(self, text: str) -> None:
        self.tail = (self.tail + text)[-MAX_PIECE_LENGTH:]
        if self._room <= 0:
            return
        self._room -= len(text)
        if self._room <= 0:
            text = cut_text(text, 1024) + "\n[more of stderr is not kept]\n"
        with suppress(OSError):  # a full disk does not end the run
            self._file.write(text.encode("utf-8", "replace"))
        self._recorder.run(EventType.RUN_OUTPUT, stream="stderr", text=text)
