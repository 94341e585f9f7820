"""Markdown (CommonMark, tables, strikethrough) to safe HTML: no raw HTML in the parser, then an allow-list of tags."""

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
"""The parser drops content that is nested deeper, so a text that reaches this depth is shown unrendered."""
PARSER = (
    MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": MAX_NESTING})
    .enable(["table", "strikethrough"])
    .disable("image")
)
PARSER.parse("a")  # compiles the rules, which happens at first use and is not thread-safe


CACHE_SIZE = 512
MAX_CACHED_LENGTH = 4_000
"""Length in characters up to which rendered texts are cached: a page of a conversation has sixty, and is viewed often."""
MAX_OPEN_BRACKETS = 500
"""Limit on open brackets: the parser scans ahead for each one, so ten thousand would occupy a thread for seconds."""


MAX_PAGE_LENGTH = 100_000
"""Length in characters of the uncached texts that a page renders; further ones would occupy a thread for seconds."""


def render_html(text: str | None) -> Markup:
    """Render Markdown to HTML without the tags and attributes that are not allowed. Links send no referrer.

    The time is linear in the length of the text, whatever it contains.
    """
    if not text:
        return Markup()
    return _render_cached(text) if _is_small(text) else _render(text)


def _is_small(text: str) -> bool:
    """Return whether the rendered text is cached. A table's HTML may be far longer than its source."""
    return len(text) <= MAX_CACHED_LENGTH and "|" not in text


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
    """Add the rendered Markdown as `html` to each entry of a conversation, the newest first until the page's limit.

    The longest texts beyond it are folded plain text.
    """
    rendered_entries, remaining = [], MAX_PAGE_LENGTH
    for entry in reversed(list(entries)):
        text = entry.get("markdown") or ""
        if not _is_small(text):
            remaining -= len(text)
        is_rendered = remaining >= 0 or _is_small(text)
        rendered_entries.append(entry | {"html": render_html(text) if is_rendered else _fold_text(text)})
    return rendered_entries[::-1]


def _fold_text(text: str) -> Markup:
    return Markup("<details><summary>{:,} characters, shown as plain text</summary><pre>{}</pre></details>").format(
        len(text), text
    )


def _count_open_brackets(text: str) -> int:
    """Return the maximum number of brackets that are open at once."""
    steps = (1 if bracket == "[" else -1 for bracket in re.findall(r"[\[\]]", text))
    return max(accumulate(steps, lambda are_open, step: max(0, are_open + step), initial=0))
