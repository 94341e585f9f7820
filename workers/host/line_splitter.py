"""Whole lines out of chunks of bytes, whatever their length."""

from __future__ import annotations

import json
from collections.abc import Iterator


class LineSplitter:
    """Cuts a stream into lines of at most `limit` bytes; of a longer one only its start is kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._cut = False

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """The lines that this chunk completes, without their newlines; True marks one that was cut."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._take(piece)
            yield self._line()
        self._take(rest)

    def rest(self) -> Iterator[tuple[bytes, bool]]:
        """What the stream ended with, if that was not a newline."""
        if self._pending:
            yield self._line()

    def _take(self, piece: bytes) -> None:
        free_bytes = self._limit - len(self._pending)
        self._cut = self._cut or len(piece) > free_bytes
        self._pending += piece[:free_bytes]

    def _line(self) -> tuple[bytes, bool]:
        line, is_clipped = bytes(self._pending), self._cut
        self._pending.clear()
        self._cut = False
        return line, is_clipped


def split_merged(line: bytes) -> list[bytes]:
    """The JSON values of a line into which two writers have merged theirs; the line itself if it is not that."""
    text = line.decode("utf-8", "replace").strip()
    if "}{" not in text:
        return [line]
    decoder, start, values = json.JSONDecoder(), 0, []
    while start < len(text):
        try:
            _, end = decoder.raw_decode(text, start)
        except ValueError:
            end = len(text)
        values.append(text[start:end].encode())
        start = end
    return values
