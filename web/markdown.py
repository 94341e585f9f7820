"""Markdown to safe HTML: raw HTML is off in the parser, and a short allow-list stands behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import markdown
import nh3
from markupsafe import Markup

TAGS = {
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol",
    "li", "a", "table", "thead", "tbody", "tr", "th", "td", "div", "span",
}  # fmt: skip
MOST_OPEN = 500
"""The parser looks for the end of each open bracket once more: its time grows with their square, so text with more is shown
as it was typed."""
CODE_CLASS = {
    "code": {"class"},
    "div": {"class"},
    "span": {"class"},
    "a": {"href", "title"},
    "th": {"align"},
    "td": {"align"},
}


def _parser() -> markdown.Markdown:
    parser = markdown.Markdown(extensions=["fenced_code", "tables", "sane_lists", "nl2br"], output_format="html")
    parser.preprocessors.deregister("html_block")
    parser.inlinePatterns.deregister("html")
    return parser


def html(text: str | None) -> Markup:
    """The rendered text; what is not allowed is left out, never let through. Links open no window and send no referrer."""
    if not text:
        return Markup()
    if _open(text, "[", "]") > MOST_OPEN or _open(text, "(", ")") > MOST_OPEN:
        return Markup("<pre>{}</pre>").format(text)
    made = _parser().convert(text)
    clean = nh3.clean(
        made,
        tags=TAGS,
        attributes=CODE_CLASS,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704 - cleaned by nh3 on the line above


def _open(text: str, opening: str, closing: str) -> int:
    """How many of these brackets are open at once, at the most."""
    deepest = depth = 0
    for bracket in re.findall(f"[{re.escape(opening + closing)}]", text):
        depth = depth + 1 if bracket == opening else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def drawn(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of a conversation with their Markdown made into HTML."""
    return [entry | {"html": html(entry.get("markdown"))} for entry in entries]
