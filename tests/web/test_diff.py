"""A unified diff taken apart."""

from __future__ import annotations

import pytest

from web.runs.diff import Gap, Hunk, Line, find_gaps, map_line, parse_diff
from web.runs.diff_highlight import MAX_LINE_CHARACTERS, TimeBudget, compare_words, highlight_hunks, measure_hunks

TEXT = """diff --git a/greet.sh b/greet.sh
index 1..2 100644
--- a/greet.sh
+++ b/greet.sh
@@ -3,4 +3,5 @@ greet() {
 same
-old one
-old two
+new one
 tail
@@ -20 +20,2 @@
+--- a trap
+diff --git too
\\ No newline at end of file
diff --git a/logo.png b/logo.png
Binary files a/logo.png and b/logo.png differ
"""


def test_lines_are_numbered_on_their_own_side() -> None:
    first, second = parse_diff(TEXT)["diff --git a/greet.sh b/greet.sh"]
    assert first.heading == "greet() {"
    assert [(line.kind, line.old, line.new, line.text) for line in first.lines] == [
        ("same", 3, 3, "same"),
        ("removed", 4, None, "old one"),
        ("removed", 5, None, "old two"),
        ("added", None, 4, "new one"),
        ("same", 6, 5, "tail"),
    ]
    assert [line.new for line in second.lines] == [20, 21, None]


def test_what_looks_like_a_head_inside_a_hunk_is_a_line_of_the_file() -> None:
    assert [line.text for line in parse_diff(TEXT)["diff --git a/greet.sh b/greet.sh"][1].lines][:2] == [
        "--- a trap",
        "diff --git too",
    ]


def test_hunks_belong_to_their_file_by_name_and_a_truncated_last_file_has_none() -> None:
    """A file that became a link has two parts, so the order says nothing."""
    link = "diff --git a/greet.sh b/greet.sh\nnew file mode 120000\n@@ -0,0 +1 @@\n+target\n"
    parsed = parse_diff(TEXT + link)
    assert {header[11:]: len(hunks) for header, hunks in parsed.items()} == {
        "a/greet.sh b/greet.sh": 3,
        "a/logo.png b/logo.png": 0,
    }
    assert list(parse_diff(TEXT, truncated=True)) == ["diff --git a/greet.sh b/greet.sh"]
    assert parse_diff("") == {}


def test_an_empty_line_of_content_counts() -> None:
    lines = parse_diff("diff --git a/x b/x\n@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n")["diff --git a/x b/x"][0].lines
    assert [(line.old, line.new) for line in lines] == [(1, 1), (2, 2), (3, None), (None, 3)]


def test_a_line_keeps_whatever_else_could_end_one() -> None:
    hunks = parse_diff("diff --git a/x b/x\n@@ -1 +1 @@\n+a\rb\x0cc\u2028d")["diff --git a/x b/x"]
    assert hunks[0].lines[0].text == "a\rb\x0cc\u2028d"


def test_what_was_removed_stands_beside_what_was_added_for_it() -> None:
    same, removed_line, gone_too, come = (
        Line("same", 1, 1, "a"),
        Line("removed", 2, None, "b"),
        Line("removed", 3, None, "c"),
        Line("added", None, 2, "d"),
    )
    assert Hunk("", (same, removed_line, gone_too, come)).sides() == [
        (same, same),
        (removed_line, come),
        (gone_too, None),
    ]


def test_gaps_are_what_is_left_out_around_the_hunks() -> None:
    first, second = parse_diff(TEXT)["diff --git a/greet.sh b/greet.sh"]
    same = tuple(Line("same", 40 + n, 42 + n, "") for n in range(3))
    assert find_gaps([first, second, Hunk("", same)]) == [Gap(1, 2, 0), None, Gap(22, 41, -2), Gap(45, None, -2)]
    assert find_gaps([Hunk("", (Line("added", None, 1, "a"),))]) == [None, None]  # it ends with the file
    assert find_gaps([]) == []


def test_a_line_is_followed_through_a_change() -> None:
    hunks = parse_diff(TEXT)["diff --git a/greet.sh b/greet.sh"]
    assert [map_line(hunks, number) for number in (1, 3, 4, 6, 30)] == [1, 3, None, 5, 31]


@pytest.mark.parametrize(
    ("before", "after", "spans"),
    [
        ("print(greet(name))", 'print(greet(name, "de"))', ([], [(16, 22)])),
        ("return old_name", "return new_name", ([(7, 15)], [(7, 15)])),
        ("one two three", "four five six seven", ([], [])),
        ("x " * 200, "x " * 199, ([], [])),
    ],
)
def test_words_that_differ_are_found_in_versions_of_a_line(
    before: str, after: str, spans: tuple[list[tuple[int, int]], list[tuple[int, int]]]
) -> None:
    assert compare_words(before, after) == spans


def render_lines(path: str, *lines: Line) -> list[str]:
    return [str(line.html) for line in highlight_hunks(path, [Hunk("", lines)])[0].lines]


def test_a_line_is_escaped_and_has_its_syntax_and_its_changed_words() -> None:
    lines = (
        Line("same", 1, 1, '"""<b>'),
        Line("removed", 2, None, "if a < 1: pass"),
        Line("added", None, 2, "# a comment"),
        Line("added", None, 3, "if a < 2: pass"),
        Line("same", 3, 4, "'<b>'"),
    )
    assert render_lines("a.txt", *lines)[:2] == ["&#34;&#34;&#34;&lt;b&gt;", 'if a &lt; <span class="w">1</span>: pass']
    assert render_lines("a.py", *lines[1:]) == [
        '<span class="k">if</span> a &lt; <span class="n w">1</span>: <span class="k">pass</span>',
        '<span class="c"># a comment</span>',
        '<span class="k">if</span> a &lt; <span class="n w">2</span>: <span class="k">pass</span>',
        '<span class="s">&#39;&lt;b&gt;&#39;</span>',
    ]


def test_lines_that_a_lexer_cannot_keep_or_should_not_read_stay_plain() -> None:
    assert render_lines("a.py", Line("added", None, 1, "if\r")) == ["if\r"]
    blank = [Line("added", None, number, "") for number in range(2, 202)]
    assert render_lines("a.c", Line("added", None, 1, "int"), *blank[:100])[0] == '<span class="k">int</span>'
    assert render_lines("a.c", Line("added", None, 1, "int"), *blank)[0] == "int"
    assert render_lines("a.py", Line("added", None, 1, "\ufeffif")) == ["\ufeffif"]  # a lexer drops the mark
    assert render_lines("a.py", Line("added", None, 1, "if " * MAX_LINE_CHARACTERS)) == ["if " * MAX_LINE_CHARACTERS]


def test_a_text_that_an_agent_chose_costs_no_more_than_the_budget_of_its_page() -> None:
    lines = Line("removed", 1, None, "if a == 1: pass"), Line("added", None, 1, "if a == 2: pass")
    (hunk,) = highlight_hunks("a.py", [Hunk("", lines)], TimeBudget(0))
    assert [line.html for line in hunk.lines] == [line.text for line in lines]
    assert measure_hunks([Hunk("", (Line("added", None, 1, ""),) * 3)]) == 3, "empty lines count too"


def test_a_code_block_of_markdown_loads_no_other_lexer() -> None:
    texts = ("```python", "if a: pass", "```", "")
    lines = (Line("added", None, number, text) for number, text in enumerate(texts, 1))
    assert render_lines("a.md", *lines)[1] == '<span class="s">if a: pass</span>'
