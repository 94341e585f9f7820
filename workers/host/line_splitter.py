"""Split chunks of bytes into whole lines of any length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from redaction import OMISSION_MARK

_OPEN_ESCAPE = re.compile(r"(\\+)(?:u[0-9a-fA-F]{0,3})?\Z")


class LineSplitter:
    """Splits a stream into lines of at most `limit` bytes. Of a longer line both ends are returned, without its middle."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._is_clipped = False

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
        self._pending += piece
        excess = len(self._pending) - self._limit
        if excess > 0:
            self._is_clipped = True
            start = _find_cut(self._limit)
            del self._pending[start : start + excess]

    def _line(self) -> tuple[bytes, bool]:
        line, is_clipped = bytes(self._pending), self._is_clipped
        self._pending.clear()
        self._is_clipped = False
        return line, is_clipped


def mend_clipped_line(line: bytes) -> bytes | None:
    """Make JSON of a clipped line whose missing middle is part of a string. None where that is not possible.

    A cut through an escape sequence leaves its second half, which the second attempt skips.
    """
    start = _find_cut(len(line))
    head, tail = (part.decode("utf-8", "ignore") for part in (line[:start], line[start:]))
    if (escape := _OPEN_ESCAPE.search(head)) and len(escape[1]) % 2:
        head = head[: escape.end(1) - 1]
    for rest in (tail, tail[1:]):
        try:
            return json.dumps(json.loads(head + OMISSION_MARK + rest)).encode()
        except (ValueError, RecursionError):
            continue
    return None


def mark_omission(line: bytes) -> str:
    """Return the text of a clipped line with a mark in the place of its missing middle."""
    start = _find_cut(len(line))
    return OMISSION_MARK.join(part.decode("utf-8", "ignore") for part in (line[:start], line[start:]))


def _find_cut(length: int) -> int:
    """Return where the middle of a clipped line of this length is missing."""
    return length - length // 4


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
