"""A tail of a file that another program appends to."""

from __future__ import annotations

from pathlib import Path

from workers.host.line_splitter import LineSplitter, mend_clipped_line

MAX_LINE_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024


class FileTail:
    """Reads whole lines that are added after `offset` bytes. The file need not exist yet."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset
        self._lines = LineSplitter(MAX_LINE_BYTES)

    def read(self) -> list[bytes]:
        """Return the lines completed since the last call, from at most `CHUNK_BYTES` bytes.

        Of too long ones the middle is left out, or the whole line where that leaves no JSON.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(CHUNK_BYTES)
        except OSError:
            return []
        self._offset += len(chunk)
        lines = self._lines.feed(chunk) if chunk else ()
        return [whole for line, is_clipped in lines if (whole := mend_clipped_line(line) if is_clipped else line)]
