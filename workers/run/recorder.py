"""Everything a wrapper has to tell: without secrets, into the spool first, then into the pane."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from workers.contract.agent_events import Event, clip, event
from workers.contract.redaction import Redaction

from .pane import Pane
from .run_facts import RunFacts
from .spool import Spool

STDERR_BYTES = 1024 * 1024
"""How much of an agent's stderr is kept."""
PIECE_CHARACTERS = 8192


class Recorder:
    """Writes down a run's events, and knows what they amount to (`facts`)."""

    def __init__(self, spool: Spool, pane: Pane, redaction: Redaction) -> None:
        self.facts = RunFacts()
        self._spool = spool
        self._pane = pane
        self._redaction = redaction

    def agent(self, told: Event) -> None:
        """An event of the agent; a receipt that would take a message back is none."""
        if told.kind == "receipt" and self.facts.knows(told.payload):
            return
        clean = self._redaction.event(told)
        self._keep("agent." + clean.kind, clean.payload)
        self._pane.show(clean.kind, clean.payload)

    def run(self, kind: str, **payload: object) -> None:
        """An event of the wrapper itself, such as `check_ended`."""
        clean = self._redaction.event(event("notice", **payload)).payload
        self._keep("run." + kind, clean)
        self._pane.show("run." + kind, clean)

    def say(self, text: str, level: str = "info") -> None:
        """A remark of the wrapper about the run."""
        self.agent(event("notice", text=text, level=level))

    def close(self, farewell: str) -> None:
        """The last line in the pane."""
        self._pane.say(farewell)
        self._pane.close()

    def _keep(self, event_type: str, payload: Mapping[str, Any]) -> None:
        self._spool.append(event_type, payload)
        self.facts.take(event_type, payload)


class Complaints:
    """An agent's stderr: kept in `stderr.log` and told as events, up to a limit."""

    def __init__(self, log: Path, recorder: Recorder, redaction: Redaction) -> None:
        self._file = log.open("wb", buffering=0)
        self._recorder = recorder
        self._redaction = redaction
        self._pending = ""
        self._room = STDERR_BYTES
        self.tail = ""

    def feed(self, chunk: bytes) -> None:
        """Take what has arrived; whole lines are passed on, and pieces of a line without an end."""
        self._pending += chunk.decode("utf-8", "replace")
        ready = self._pending.rfind("\n") + 1
        if not ready and len(self._pending) > PIECE_CHARACTERS:
            self._pending = self._redaction.text(self._pending)
            ready = len(self._pending) - self._redaction.held_back(self._pending)
        if ready:
            self._tell(self._pending[:ready])
            self._pending = self._pending[ready:]

    def close(self) -> None:
        if self._pending:
            self._tell(self._pending)
        self._file.close()

    def _tell(self, text: str) -> None:
        text = self._redaction.text(text)
        self.tail = (self.tail + text)[-PIECE_CHARACTERS:]
        if self._room <= 0:
            return
        self._room -= len(text)
        if self._room <= 0:
            text = clip(text, 1024) + "\n[more of stderr is not kept]\n"
        with suppress(OSError):  # a full disk does not end the run
            self._file.write(text.encode("utf-8", "replace"))
        self._recorder.run("output", stream="stderr", text=text)
