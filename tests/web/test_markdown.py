"""Markdown of people and agents: whatever it holds, it is rendered in bounded time."""

from __future__ import annotations

import pytest

from web import markdown


@pytest.mark.parametrize("part", ["[", "![](", "[x](a "])
def test_what_would_take_the_parser_for_ever_is_shown_as_it_was_typed(part: str) -> None:
    assert markdown.html(part * 4000) == f"<pre>{part * 4000}</pre>"


def test_many_links_are_links() -> None:
    assert markdown.html("[x](http://y) " * 2000).count("<a href") == 2000


def test_what_is_shown_as_it_was_typed_is_text() -> None:
    assert "<script>" not in markdown.html("[" * 1000 + "<script>alert(1)</script>")
