"""Highlighting of the lines of a diff: the syntax of the language, and the words that differ within changed lines."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from functools import cache
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any

from markupsafe import Markup, escape

from .diff import Hunk, Line

MAX_CHARACTERS = 40_000
"""Length of the lines of one page that are highlighted, which takes up to a third of a second."""
MAX_LINE_CHARACTERS = 1000
MAX_CPU_SECONDS = 2.0
"""CPU time for the lines of one page. An agent can write a text for which a lexer takes the square of its length."""
LONG_SPACE = re.compile(r"\s{200}")
"""White space that is not given to a lexer: that of C searches it in one step, which no budget ends, for minutes."""
MAX_WORDS = 200
MAX_MATCHED_LINES = 20
"""Size of a block up to which removed lines are matched with similar ones, and not with those in the same place."""
MIN_SIMILARITY = 0.4
"""Ratio of equal words below which two lines are different ones, not versions of one line."""
WORD = re.compile(r"\w+|\s+|.", re.DOTALL)
LANGUAGES = {
    "bash": "bash", "c": "c", "cc": "cpp", "cfg": "ini", "cpp": "cpp", "cs": "csharp", "css": "css", "dockerfile": "docker",
    "go": "go", "h": "c", "hpp": "cpp", "htm": "html", "html": "html", "ini": "ini", "java": "java", "js": "javascript",
    "json": "json", "jsx": "javascript", "kt": "kotlin", "lua": "lua", "makefile": "make", "md": "markdown", "mjs": "javascript",
    "php": "php", "py": "python", "pyi": "python", "rb": "ruby", "rs": "rust", "scss": "scss", "sh": "bash", "sql": "sql",
    "swift": "swift", "toml": "toml", "ts": "typescript", "tsx": "typescript", "xml": "xml", "yaml": "yaml", "yml": "yaml",
}  # fmt: skip
"""Lexers of Pygments by the suffix of a file, or its whole name. Others are not used, since agents choose the text."""
CLASSES = (
    ("Comment.Preproc", "k"),
    ("Comment", "c"),
    ("Literal.String", "s"),
    ("Literal.Number", "n"),
    ("Keyword", "k"),
    ("Operator.Word", "k"),
    ("Name.Function", "f"),
    ("Name.Class", "f"),
    ("Name.Decorator", "f"),
    ("Name.Attribute", "f"),
    ("Name.Tag", "k"),
    ("Generic.Heading", "k"),
    ("Generic.Subheading", "k"),
)
"""CSS classes by the kind of a token, the first that fits."""

Span = tuple[int, int]
Piece = tuple[str, str]
"""A part of a line, with its CSS class or an empty text."""


class TimeBudget:
    """The CPU time that this thread may still spend on highlighting. What is over it stays plain."""

    def __init__(self, seconds: float = MAX_CPU_SECONDS) -> None:
        self._end = time.thread_time() + seconds

    @property
    def is_spent(self) -> bool:
        return time.thread_time() >= self._end


def highlight_hunks(path: str, hunks: Sequence[Hunk], budget: TimeBudget | None = None) -> tuple[Hunk, ...]:
    """Return the hunks of a file with the HTML of their lines, plain ones once the budget of the page is spent."""
    lexer, budget = find_lexer(path), budget or TimeBudget()
    return tuple(replace(hunk, lines=tuple(_highlight_lines(hunk, lexer, budget))) for hunk in hunks)


def highlight_context(path: str, lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return unchanged lines of a file with their HTML."""
    return highlight_hunks(path, [Hunk("", tuple(lines))])[0].lines


def measure_hunks(hunks: Iterable[Hunk]) -> int:
    """Count the characters of the lines with their ends, as a lexer reads them."""
    return sum(len(line.text) + 1 for hunk in hunks for line in hunk.lines)


def _highlight_lines(hunk: Hunk, lexer: Any, budget: TimeBudget) -> Iterator[Line]:
    """Highlight the two sides of a hunk, each as a text of its own."""
    pieces: dict[int, list[Piece]] = {}
    for kind in ("removed", "added"):
        places = [place for place, line in enumerate(hunk.lines) if line.kind in ("same", kind)]
        if kind == "removed" and not any(line.kind == kind for line in hunk.lines):
            continue  # the other side has all lines
        texts = [hunk.lines[place].text for place in places]
        pieces |= dict(zip(places, _split_pieces(lexer, texts, budget), strict=True))
    spans = _find_changed_words(hunk, budget)
    for place, line in enumerate(hunk.lines):
        parts = pieces.get(place, [(line.text, "")])
        yield replace(line, html=_render_line(parts, spans.get(id(line), [])))


@cache
def _load_lexer(name: str) -> Any:
    from pygments.lexers import get_lexer_by_name  # it is not needed before the first diff is shown

    # The lexer of Markdown would load any other one that a code block names.
    return get_lexer_by_name(name, stripnl=False, ensurenl=False, handlecodeblocks=False)


def find_lexer(path: str) -> Any:
    """Find the lexer for a file, or None for a language that is not highlighted."""
    file = PurePosixPath(path)
    name = LANGUAGES.get((file.suffix[1:] or file.name).lower())
    return _load_lexer(name) if name else None


def _split_pieces(lexer: Any, texts: Sequence[str], budget: TimeBudget) -> list[list[Piece]]:
    """Split lines into the tokens of a language. Lines that a lexer would not keep as they are stay whole, and slow ones."""
    plain = [[(text, "")] for text in texts]
    if lexer is None or any(len(text) > MAX_LINE_CHARACTERS or "\r" in text for text in texts):
        return plain
    whole_text = "\n".join(texts)
    if LONG_SPACE.search(whole_text):
        return plain
    lines: list[list[Piece]] = [[]]
    for token, value in lexer.get_tokens(whole_text):
        if budget.is_spent:
            return plain
        first, *others = value.split("\n")
        css_class = _find_class(token)
        lines[-1].append((first, css_class))
        lines += [[(part, css_class)] for part in others]
    is_whole = ["".join(part for part, _ in line) for line in lines] == list(texts)
    return lines if is_whole else plain


@cache
def _find_class(token: Any) -> str:
    name = str(token).removeprefix("Token.")
    return next((css_class for kind, css_class in CLASSES if name == kind or name.startswith(f"{kind}.")), "")


def _find_changed_words(hunk: Hunk, budget: TimeBudget) -> dict[int, list[Span]]:
    """Find the parts that differ in a removed line and the added one that replaces it, by the identity of the line."""
    spans: dict[int, list[Span]] = {}
    for removals, additions in hunk.list_blocks():
        for before, after in _match_lines(removals, additions):
            if budget.is_spent:
                return spans
            spans[id(before)], spans[id(after)] = compare_words(before.text, after.text)
    return spans


def _match_lines(removals: Sequence[Line], additions: Sequence[Line]) -> Iterator[tuple[Line, Line]]:
    """Match removed lines with the added ones that replace them: each its own, or the most similar of those that follow."""
    if len(removals) == len(additions) or max(len(removals), len(additions)) > MAX_MATCHED_LINES:
        yield from zip(removals, additions, strict=False)
        return
    start = 0
    for line in removals:
        candidates = additions[start:]
        if not candidates:
            return
        ratios = [SequenceMatcher(None, line.text, other.text, autojunk=False).quick_ratio() for other in candidates]
        best = ratios.index(max(ratios))
        if ratios[best] >= MIN_SIMILARITY:
            yield line, candidates[best]
            start += best + 1


def compare_words(before: str, after: str) -> tuple[list[Span], list[Span]]:
    """Find the parts of two versions of a line that differ, unless they are too long or have little in common."""
    words = WORD.findall(before), WORD.findall(after)
    if max(map(len, words)) > MAX_WORDS:
        return [], []
    matcher = SequenceMatcher(None, *words, autojunk=False)
    if matcher.ratio() < MIN_SIMILARITY:
        return [], []
    changes = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    return (
        _join_spans(words[0], [(start, end) for _, start, end, _, _ in changes]),
        _join_spans(words[1], [(start, end) for _, _, _, start, end in changes]),
    )


def _join_spans(words: Sequence[str], ranges: Iterable[Span]) -> list[Span]:
    """Convert ranges of words to spans of characters. Spans with nothing but spaces between them become one."""
    spans: list[Span] = []
    text = "".join(words)
    for first, last in ranges:
        start, end = len("".join(words[:first])), len("".join(words[:last]))
        if spans and not text[spans[-1][1] : start].strip():
            start = spans.pop()[0]
        if start < end:
            spans.append((start, end))
    return spans


def _render_line(pieces: Iterable[Piece], spans: Sequence[Span]) -> Markup:
    """Render the tokens of a line, with its changed parts in elements of their own."""
    parts = _mark_parts(pieces, spans) if spans else pieces
    groups = groupby(parts, key=itemgetter(1))
    return Markup("".join(_render_part("".join(text for text, _ in group), name) for name, group in groups))  # noqa: S704 - each part is escaped


def _mark_parts(pieces: Iterable[Piece], spans: Sequence[Span]) -> Iterator[Piece]:
    """Cut the tokens of a line at the borders of its changed parts, and add the class of those."""
    borders = [border for span in spans for border in span]
    at = 0
    for text, css_class in pieces:
        inner = [at, *(border for border in borders if at < border < at + len(text)), at + len(text)]
        for start, end in pairwise(inner):
            is_changed = any(first <= start < last for first, last in spans)
            yield text[start - at : end - at], f"{css_class} w".strip() if is_changed else css_class
        at += len(text)


def _render_part(text: str, css_class: str) -> str:
    return f'<span class="{css_class}">{escape(text)}</span>' if css_class else str(escape(text))
