"""How texts are written in pages."""

from __future__ import annotations

import pytest

from web.site.template_filters import render_code


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("`sh check.sh`: exit 0", "<code>sh check.sh</code>: exit 0"),
        ("`<b>` and <i>", "<code>&lt;b&gt;</code> and &lt;i&gt;"),
        ("one ` alone", "one ` alone"),
    ],
)
def test_words_between_backticks_are_code_and_nothing_else_is_markup(text: str, markup: str) -> None:
    assert render_code(text) == markup
