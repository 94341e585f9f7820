"""Split chunks of bytes into whole lines of any length."""

from __future__ import annotations

import json
from collections.abc import Iterator


class LineSplitter:
    """Splits a stream into lines of at most `limit` bytes. Of a longer line only the start is returned."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._cut = False

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield the lines that this chunk completes, without newlines. True marks a clipped one."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._take(piece)
            yield self._line()
        self._take(rest)

    def rest(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the last line of a stream that does not end with a newline."""
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
    """Split a line into which two writers merged their JSON values. Any other line is returned as it is."""
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
