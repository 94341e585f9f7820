"""A tail of a file that another program appends to."""

from __future__ import annotations

from pathlib import Path

from workers.host.line_splitter import LineSplitter

MAX_LINE_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024


class FileTail:
    """Reads whole lines that are added after `offset` bytes. The file need not exist yet."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset
        self._lines = LineSplitter(MAX_LINE_BYTES)

    def read(self) -> list[bytes]:
        """Return the lines completed since the last call, from at most `CHUNK_BYTES` bytes. Too long ones are left out."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(CHUNK_BYTES)
        except OSError:
            return []
        self._offset += len(chunk)
        return [line for line, is_clipped in self._lines.feed(chunk) if not is_clipped] if chunk else []
