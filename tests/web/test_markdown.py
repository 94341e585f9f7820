"""Markdown of people and agents: whatever it holds, it is rendered in bounded time and nothing of it is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from threading import Barrier

import pytest

from web.site import markdown

HOSTILE = [
    "[", "![", "![](", "[x](a ", "[[*]]", "*a*", "*a**b", "_*", "`", "\\`", "<", "|`|`\n", "# a\n", "a\n=\n", "```a\n ",
    "```a\nb\n\n", "- ", "1. ", "> ", ">", "- > a\n", "[a]: b 'c\n",
]  # fmt: skip
"""What takes other parsers time that grows with its square, or more calls within one another than there may be."""


NUMBERS = count()


@pytest.mark.parametrize("part", HOSTILE)
def test_the_time_grows_with_the_length(part: str) -> None:
    def seconds(times: int) -> float:
        text = f"{part * times}{next(NUMBERS)}"  # a text that was rendered is kept
        start = time.process_time()
        markdown.render_html(text)
        return time.process_time() - start

    seconds(10)
    short, long = min(seconds(1000) for _ in range(3)), seconds(8000)
    assert long < 32 * short + 0.5, "four times what it should be, and where it grows with the square eight times"


@pytest.mark.parametrize("part", ["- ", "1. ", "> ", "* "])
def test_what_is_nested_too_deeply_is_shown_as_it_was_typed(part: str) -> None:
    text = part * 1000 + "<b>the end"
    assert markdown.render_html(text) == f"<pre>{part.replace('>', '&gt;') * 1000}&lt;b&gt;the end</pre>"


def test_many_links_are_links() -> None:
    assert markdown.render_html("[x](http://y) " * 2000).count("<a href") == 2000


def test_what_people_and_agents_write_is_drawn() -> None:
    markup = markdown.render_html(
        "1. one\n   - two\n\n```sh\nls <a>\n```\n\nA line\nand ~~no~~ `code`.\n\n| a |\n|---|\n| b |\n"
    )
    for part in ("<li>two</li>", '<code class="language-sh">ls &lt;a&gt;\n</code>', "<br>", "<s>no</s>", "<td>b</td>"):
        assert part in markup
    assert markdown.render_html("![a](http://b/c.png)").startswith('<p>!<a href="http://b/c.png"')


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "[x](javascript:alert(1))", "<http://a onclick=b>"])
def test_what_could_run_is_text(text: str) -> None:
    markup = markdown.render_html(text)
    assert "<script" not in markup and "href" not in markup


def test_the_first_texts_of_a_process_are_drawn_by_many_threads() -> None:
    """Regression: the parser's rules are put together at first use, of which a second thread saw a part."""
    spec = spec_from_file_location("fresh", markdown.__file__)
    assert spec and spec.loader
    together = Barrier(8)

    def draw(html: Callable[[str], str]) -> str:
        together.wait()
        return html("a *b*")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for _ in range(60):
                module = module_from_spec(spec)
                spec.loader.exec_module(module)
                assert set(threads.map(draw, [module.render_html] * 8)) == {"<p>a <em>b</em></p>\n"}
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("part", ["[", "[\n", "[][", "[[]"])
def test_a_text_of_open_brackets_is_shown_as_it_was_typed(part: str) -> None:
    text = part * (100_000 // len(part))
    assert markdown.render_html(text) == f"<pre>{text}</pre>"


def test_a_page_renders_the_newest_long_texts_and_folds_the_rest() -> None:
    """Regression: sixty comments with a table of 12,500 columns each took 104 seconds a look."""
    wide_table = "a|" * 12_500 + "\n" + "-|" * 12_500 + "\nx|\n" * 2
    entries = markdown.render_entries({"markdown": f"{wide_table}{number} <b>"} for number in range(60))
    rendered = [entry for entry in entries if entry["html"].startswith("<table>")]
    assert rendered == entries[-len(rendered) :] and 0 < len(rendered) < 4
    assert entries[0]["html"].startswith("<details><summary>50,")
    assert entries[0]["html"].endswith("0 &lt;b&gt;</pre></details>")
