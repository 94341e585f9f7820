"""Partial text of blocks as it arrives, rate-limited and redacted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redaction import Redaction, StreamRedaction
from workers.contract.agent_events import AgentEvent, make_event

INTERVAL_SECONDS = 0.25
"""Seconds between two events of one block."""


@dataclass(slots=True)
class _Block:
    stream: StreamRedaction
    pending: str = ""
    sent: int = 0
    due: float = 0.0


class DeltaThrottle:
    """Collects the deltas of blocks and emits at most four events a second for each.

    A tail that may be the beginning of a secret is held back until the next delta. Pending text
    is dropped when its block ends, as the whole block follows and supersedes its deltas.
    """

    def __init__(self, secrets: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._redaction = Redaction(secrets)
        self._clock = clock
        self._blocks: dict[str, _Block] = {}

    def add(self, block: str, kind: str, piece: str, parent: str | None = None) -> list[AgentEvent]:
        """Return the `delta` event that is now due, if any. `offset` counts characters of the block."""
        state = self._blocks.get(block) or self._begin(block)
        state.pending += piece
        if self._clock() < state.due:
            return []
        visible, state.pending = state.stream.feed(state.pending), ""
        if not visible:
            return []
        state.due = self._clock() + INTERVAL_SECONDS
        offset, state.sent = state.sent, state.sent + len(visible)
        return [make_event("delta", block=block, kind=kind, offset=offset, text=visible, parent=parent)]

    def close(self, block: str) -> None:
        """Forget a block that is complete."""
        self._blocks.pop(block, None)

    def _begin(self, block: str) -> _Block:
        state = self._blocks[block] = _Block(StreamRedaction(self._redaction))
        return state
