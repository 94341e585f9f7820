"""Parser of unified diffs into files, hunks, numbered lines, and the two sides of a hunk, without side effects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HUNK_HEADER = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)")
_KINDS = {"+": "added", "-": "removed", "\\": "note"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a hunk, with its line number before (`old`) and after (`new`) the change.

    `kind` is "same", "added", "removed" or "note".
    """

    kind: str
    old: int | None
    new: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Hunk:
    """A hunk of a diff. `heading` is the enclosing function or section if git knows it."""

    heading: str
    lines: tuple[Line, ...]

    def sides(self) -> list[tuple[Line | None, Line | None]]:
        """Pair the lines before and after, row by row, with removed lines beside the added lines that replace them."""
        rows: list[tuple[Line | None, Line | None]] = []
        removals: list[Line] = []
        additions: list[Line] = []
        for line in (*self.lines, None):
            if line is not None and line.kind in ("added", "removed"):
                (additions if line.kind == "added" else removals).append(line)
                continue
            rows += _pair_lines(removals, additions)
            removals, additions = [], []
            if line is not None:
                rows.append((line, line))
        return rows


def _pair_lines(removals: list[Line], additions: list[Line]) -> list[tuple[Line | None, Line | None]]:
    length = max(len(removals), len(additions))
    return [
        (removals[n] if n < len(removals) else None, additions[n] if n < len(additions) else None)
        for n in range(length)
    ]


def parse_diff(text: str, *, truncated: bool = False) -> dict[str, tuple[Hunk, ...]]:
    """Parse a diff into the hunks of each file, under the line `diff --git ...` that names the file.

    A binary file, a pure rename or a change of mode has no hunks. A line of content never begins with `diff --git`, since
    every content line has a prefix character. A truncated diff is parsed without its last file, whose last line may
    be incomplete.
    """
    parts: list[tuple[str, list[str]]] = []
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("diff --git "):
            parts.append((line, []))
        elif parts:
            parts[-1][1].append(line)
    hunks: dict[str, tuple[Hunk, ...]] = {}
    for header, lines in parts[:-1] if truncated else parts:
        hunks[header] = (*hunks.get(header, ()), *_parse_hunks(lines))
    return hunks


def _parse_hunks(lines: list[str]) -> Iterator[Hunk]:
    starts = [place for place, line in enumerate(lines) if line.startswith("@@ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        head = _HUNK_HEADER.match(lines[start])
        if head:
            yield Hunk(head[3], tuple(_number_lines(lines[start + 1 : end], int(head[1]), int(head[2]))))


def _number_lines(lines: list[str], old: int, new: int) -> Iterator[Line]:
    for text in lines:
        kind = _KINDS.get(text[:1], "same")
        yield Line(
            kind, old if kind in ("same", "removed") else None, new if kind in ("same", "added") else None, text[1:]
        )
        old += kind in ("same", "removed")
        new += kind in ("same", "added")
