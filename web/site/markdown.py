"""Markdown (CommonMark, tables, strikethrough) to safe HTML: raw HTML is off in the parser, and a short allow-list is behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

TAGS = {
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol",
    "li", "a", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {"code": {"class"}, "ol": {"start"}, "a": {"href", "title"}}
DEEPEST = 40
"""The parser leaves out what is nested deeper, so a text that comes to there is shown as it was typed."""
PARSER = (
    MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": DEEPEST})
    .enable(["table", "strikethrough"])
    .disable("image")
)
PARSER.parse("a")  # its rules are put together at first use, which two threads may not do at once


KEPT = 512
SHORT = 4_000
"""Characters of a text that is worth keeping as rendered: a page of a conversation has sixty, and is looked at often."""
MOST_OPEN = 500
"""The parser looks far behind each bracket that is open: ten thousands of them would hold a web worker for seconds."""


def html(text: str | None) -> Markup:
    """The rendered text; what is not allowed is left out, never let through. Links open no window and send no referrer.

    The parser's time grows with the length of the text, whatever it holds.
    """
    if not text:
        return Markup()
    is_small = len(text) <= SHORT and "|" not in text  # a table may be many times as long as its text
    return _kept(text) if is_small else _rendered(text)


def _rendered(text: str) -> Markup:
    if _open_at_once(text) > MOST_OPEN:
        return Markup("<pre>{}</pre>").format(text)
    tokens = PARSER.parse(text)
    if any(token.level >= DEEPEST - 1 for token in tokens):
        return Markup("<pre>{}</pre>").format(text)
    clean = nh3.clean(
        PARSER.renderer.render(tokens, PARSER.options, {}),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704 - cleaned by nh3 on the line above


_kept = lru_cache(KEPT)(_rendered)  # without it the page of a long conversation takes 90 % longer


def drawn(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of a conversation with their Markdown made into HTML."""
    return [entry | {"html": html(entry.get("markdown"))} for entry in entries]


def _open_at_once(text: str) -> int:
    """The most brackets that are open at any place of a text."""
    steps = (1 if bracket == "[" else -1 for bracket in re.findall(r"[\[\]]", text))
    return max(accumulate(steps, lambda are_open, step: max(0, are_open + step), initial=0))
