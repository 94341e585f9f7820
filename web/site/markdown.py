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
MAX_NESTING = 40
"""The parser leaves out what is nested deeper, so a text that comes to there is shown as it was typed."""
PARSER = (
    MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": MAX_NESTING})
    .enable(["table", "strikethrough"])
    .disable("image")
)
PARSER.parse("a")  # its rules are put together at first use, which two threads may not do at once


CACHE_SIZE = 512
MAX_CACHED_LENGTH = 4_000
"""Characters of a text that is worth keeping as rendered: a page of a conversation has sixty, and is looked at often."""
MAX_OPEN_BRACKETS = 500
"""The parser looks far behind each bracket that is open: ten thousands of them would hold a web worker for seconds."""


def render_html(text: str | None) -> Markup:
    """The rendered text; what is not allowed is left out, never let through. Links open no window and send no referrer.

    The parser's time grows with the length of the text, whatever it holds.
    """
    if not text:
        return Markup()
    is_small = len(text) <= MAX_CACHED_LENGTH and "|" not in text  # a table may be many times as long as its text
    return _render_cached(text) if is_small else _render(text)


def _render(text: str) -> Markup:
    if _count_open_brackets(text) > MAX_OPEN_BRACKETS:
        return Markup("<pre>{}</pre>").format(text)
    tokens = PARSER.parse(text)
    if any(token.level >= MAX_NESTING - 1 for token in tokens):
        return Markup("<pre>{}</pre>").format(text)
    clean = nh3.clean(
        PARSER.renderer.render(tokens, PARSER.options, {}),
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704 - cleaned by nh3 on the line above


_render_cached = lru_cache(CACHE_SIZE)(_render)  # without it the page of a long conversation takes 90 % longer


def render_entries(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of a conversation with their Markdown made into HTML."""
    return [entry | {"html": render_html(entry.get("markdown"))} for entry in entries]


def _count_open_brackets(text: str) -> int:
    """The most brackets that are open at any place of a text."""
    steps = (1 if bracket == "[" else -1 for bracket in re.findall(r"[\[\]]", text))
    return max(accumulate(steps, lambda are_open, step: max(0, are_open + step), initial=0))
