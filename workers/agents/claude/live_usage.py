"""The usage of the messages since the last result, as the partial messages of the stream show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.contract.fields import Fields, get_count, get_object, get_text

COUNTERS: Mapping[str, str] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}
"""The names of a message's counters, each with its name in a `usage` event."""


@dataclass(slots=True)
class MessageUsage:
    """The usage of one message of the model, which belongs to a sub-agent where `parent` is its call."""

    model: str
    parent: str
    tokens: dict[str, int] = field(default_factory=dict)
    is_complete: bool = False

    def update(self, usage: Fields) -> None:
        """Take the larger of each counter, as every piece of a message repeats its totals."""
        for key, name in COUNTERS.items():
            self.tokens[name] = max(self.tokens.get(name, 0), get_count(usage, key))


class LiveUsage:
    """The messages that no result has counted yet."""

    def __init__(self) -> None:
        self._messages: dict[str, MessageUsage] = {}
        self._open: dict[str, str] = {}

    def read_piece(self, piece: Fields, parent: str) -> bool:
        """Read a `stream_event`, and return whether it changed the usage."""
        match get_text(piece, "type"):
            case "message_start":
                self._start(get_object(piece, "message"), parent)
            case "message_delta" if message := self._messages.get(self._open.get(parent, "")):
                message.update(get_object(piece, "usage"))
                message.is_complete = True
            case _:
                return False
        return True

    def read_line(self, body: Fields, parent: str) -> bool:
        """Read the line of a sub-agent whose pieces are not streamed. False when the message is counted already."""
        if get_text(body, "id") in self._messages:
            return False
        self._start(body, parent).is_complete = True
        return True

    def _start(self, body: Fields, parent: str) -> MessageUsage:
        name = self._open[parent] = get_text(body, "id")
        message = self._messages.setdefault(name, MessageUsage(get_text(body, "model"), parent))
        message.update(get_object(body, "usage"))
        return message

    def settle(self) -> None:
        """Forget what a result has counted: every message but one that is still being written."""
        self._messages = {name: message for name, message in self._messages.items() if not message.is_complete}

    @property
    def turns(self) -> int:
        """The answers of the main agent."""
        return sum(not message.parent for message in self._messages.values())

    def sum_by_model(self) -> dict[str, dict[str, int]]:
        """Sum the tokens of each model."""
        sums: dict[str, dict[str, int]] = {}
        for message in self._messages.values():
            tokens = sums.setdefault(message.model, dict.fromkeys(COUNTERS.values(), 0))
            for name, count in message.tokens.items():
                tokens[name] += count
        return sums
