"""Parser of unified diffs into files, hunks, numbered lines, and the two sides of a hunk, without side effects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from markupsafe import Markup

_HUNK_HEADER = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)")
_KINDS = {"+": "added", "-": "removed", "\\": "note"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a hunk, with its line number before (`old`) and after (`new`) the change.

    `kind` is "same", "added", "removed" or "note". `html` is the highlighted text.
    """

    kind: str
    old: int | None
    new: int | None
    text: str
    html: Markup | None = None


CONTEXT_LINES = 3
"""Number of unchanged lines around a change. Fewer at the end of a hunk mean that the file ends there."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Unchanged lines that a diff leaves out, by their numbers in the new file. `end` is None after the last hunk.

    `shift` is the number of a line in the old file less that in the new one.
    """

    start: int
    end: int | None
    shift: int


@dataclass(frozen=True, slots=True)
class Hunk:
    """A hunk of a diff. `heading` is the enclosing function or section if git knows it."""

    heading: str
    lines: tuple[Line, ...]

    def list_blocks(self) -> list[tuple[list[Line], list[Line]]]:
        """List the removed lines of each change, with the added ones that replace them."""
        return [_split_block(lines) for is_change, lines in self._group_lines() if is_change]

    def sides(self) -> list[tuple[Line | None, Line | None]]:
        """Pair the lines before and after, row by row, with removed lines beside the added lines that replace them."""
        rows: list[tuple[Line | None, Line | None]] = []
        for is_change, lines in self._group_lines():
            rows += zip_longest(*_split_block(lines)) if is_change else zip(lines, lines, strict=True)
        return rows

    def _group_lines(self) -> Iterator[tuple[bool, list[Line]]]:
        for is_change, group in groupby(self.lines, lambda line: line.kind in ("added", "removed")):
            yield is_change, list(group)


def _split_block(lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    removals, additions = ([line for line in lines if line.kind == kind] for kind in ("removed", "added"))
    return removals, additions


def find_gaps(hunks: Sequence[Hunk]) -> list[Gap | None]:
    """Find what is left out before each hunk and after the last one. None where no line is."""
    gaps: list[Gap | None] = []
    start = 1
    for hunk in hunks:
        first = hunk.lines[0]
        old, new = first.old, first.new
        gaps.append(Gap(start, new - 1, old - new) if old and new and new > start else None)
        start = max(line.new or 0 for line in hunk.lines) + 1
    return [*gaps, *([_find_last_gap(hunks[-1])] if hunks else [])]


def _find_last_gap(hunk: Hunk) -> Gap | None:
    last_lines = hunk.lines[-CONTEXT_LINES:]
    if len(last_lines) < CONTEXT_LINES or any(line.kind != "same" for line in last_lines):
        return None
    old, new = last_lines[-1].old or 0, last_lines[-1].new or 0
    return Gap(new + 1, None, old - new)


def map_line(hunks: Sequence[Hunk], number: int) -> int | None:
    """Map the number of a line before a change to its number after it. None for a line that was removed."""
    shift = 0
    for line in (line for hunk in hunks for line in hunk.lines):
        if line.old is not None and line.old >= number:
            return line.new if line.old == number else number + shift
        shift += {"added": 1, "removed": -1}.get(line.kind, 0)
    return number + shift


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
        if head and end > start + 1:
            yield Hunk(head[3], tuple(_number_lines(lines[start + 1 : end], int(head[1]), int(head[2]))))


def _number_lines(lines: list[str], old: int, new: int) -> Iterator[Line]:
    for text in lines:
        kind = _KINDS.get(text[:1], "same")
        yield Line(
            kind, old if kind in ("same", "removed") else None, new if kind in ("same", "added") else None, text[1:]
        )
        old += kind in ("same", "removed")
        new += kind in ("same", "added")
