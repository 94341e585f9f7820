from __future__ import annotations

import json

import pytest

from redaction import OMISSION_MARK
from workers.host.line_splitter import LineSplitter, mend_clipped_line, split_merged


def test_lines_are_found_wherever_the_chunks_are_cut() -> None:
    text = b"one\ntwo\n\nthree"
    for size in range(1, len(text) + 1):
        lines = LineSplitter(100)
        texts = [line for at in range(0, len(text), size) for line, _ in lines.feed(text[at : at + size])]
        assert texts == [b"one", b"two", b""]
        assert list(lines.rest()) == [(b"three", False)]


def test_of_a_line_beyond_the_limit_only_the_ends_are_held() -> None:
    lines = LineSplitter(4)
    assert list(lines.feed(b"12345678")) == []
    assert list(lines.feed(b"9\n1234\n12345\n")) == [(b"1239", True), (b"1234", False), (b"1235", True)]


@pytest.mark.parametrize("filler", ["x", '"', "\\", "\n", "é", "😀", '\\"', "\u0007"])
def test_a_line_of_json_without_its_middle_is_json_still(filler: str) -> None:
    """Regression: the verdict of a final message longer than the limit was lost."""
    for length in range(300, 320):
        line = json.dumps({"result": f"start {filler * length} DONE: end", "type": "result"}).encode()
        [(clipped, is_clipped)] = LineSplitter(200).feed(line + b"\n")
        mended = json.loads(mend_clipped_line(clipped) or b"null")
        assert is_clipped and mended["type"] == "result" and OMISSION_MARK in mended["result"]
        assert mended["result"].startswith("start ") and mended["result"].endswith(" DONE: end")


@pytest.mark.parametrize("line", [b"x" * 90, b'{"a":[' + b"1," * 90 + b"1]}", b"[" * 90])
def test_what_is_no_json_without_its_middle_is_not_mended(line: bytes) -> None:
    [(clipped, _)] = LineSplitter(40).feed(line + b"\n")
    assert mend_clipped_line(clipped) is None


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b'{"a":1}', [b'{"a":1}']),
        (b'{"a":1}{"b":"}{"}', [b'{"a":1}', b'{"b":"}{"}']),
        (b'{"a":"}{"}', [b'{"a":"}{"}']),
        (b'{"a":1}{"b', [b'{"a":1}', b'{"b']),
        (b"}{", [b"}{"]),
    ],
)
def test_merged_values_are_taken_apart_and_nothing_is_lost(line: bytes, parts: list[bytes]) -> None:
    assert split_merged(line) == parts
