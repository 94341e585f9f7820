"""Markdown (CommonMark, tables, strikethrough) to safe HTML: raw HTML is off in the parser, and a short allow-list is behind it."""

from __future__ import annotations

from collections.abc import Iterable
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


def html(text: str | None) -> Markup:
    """The rendered text; what is not allowed is left out, never let through. Links open no window and send no referrer.

    The parser's time grows with the length of the text, whatever it holds.
    """
    if not text:
        return Markup()
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


def drawn(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of a conversation with their Markdown made into HTML."""
    return [entry | {"html": html(entry.get("markdown"))} for entry in entries]
