"""A unified diff taken apart."""

from __future__ import annotations

from web.runs.diff import Hunk, Line, parse_diff

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
    first, second = parse_diff(TEXT)[0]
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
    assert [line.text for line in parse_diff(TEXT)[0][1].lines][:2] == ["--- a trap", "diff --git too"]


def test_a_binary_file_has_no_hunks_and_keeps_its_place() -> None:
    assert [len(hunks) for hunks in parse_diff(TEXT)] == [2, 0]
    assert parse_diff("") == []


def test_a_line_keeps_whatever_else_could_end_one() -> None:
    hunks = parse_diff("diff --git a/x b/x\n@@ -1 +1 @@\n+a\rb\x0cc\u2028d")[0]
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
