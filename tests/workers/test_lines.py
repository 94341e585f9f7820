from __future__ import annotations

import pytest

from workers.host.line_splitter import LineSplitter, split_merged


def test_lines_are_found_wherever_the_chunks_are_cut() -> None:
    text = b"one\ntwo\n\nthree"
    for size in range(1, len(text) + 1):
        lines = LineSplitter(100)
        texts = [line for at in range(0, len(text), size) for line, _ in lines.feed(text[at : at + size])]
        assert texts == [b"one", b"two", b""]
        assert list(lines.rest()) == [(b"three", False)]


def test_of_a_line_beyond_the_limit_only_the_start_is_held() -> None:
    lines = LineSplitter(4)
    assert list(lines.feed(b"12345678")) == []
    assert list(lines.feed(b"9\n1234\n12345\n")) == [(b"1234", True), (b"1234", False), (b"1234", True)]


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
