from __future__ import annotations

from workers.contract.agent_events import TEXT_BYTES, event, raw
from workers.contract.redaction import Redaction

SECRET = 'pass"word-1234'


def test_a_secret_is_found_as_it_is_and_as_json_writes_it() -> None:
    clean = Redaction([SECRET, ""])
    assert clean.text(f"a {SECRET} b") == "a [redacted] b"
    assert clean.event(raw('{"key": "pass\\"word-1234"}', "x")).payload["line"] == '{"key": "[redacted]"}'


def test_a_text_that_was_cut_inside_a_secret_loses_its_beginning_too() -> None:
    told = event("text", block="b", text="x" * (TEXT_BYTES - 6) + SECRET)
    assert told.payload["text"].endswith('pass"w')
    assert Redaction([SECRET]).event(told).payload["text"].endswith("xxx")


def test_the_longest_possible_beginning_is_held_back() -> None:
    clean = Redaction(["abcabd"])
    assert clean.held_back("xxabcab") == 5
    assert clean.held_back("xxabd") == 0
    assert Redaction([]).held_back("anything") == 0
