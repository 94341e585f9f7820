from __future__ import annotations

from workers.contract.agent_events import MAX_TEXT_BYTES, make_event, make_raw_event
from workers.contract.redaction import Redaction
from workers.host.line_splitter import OMISSION_MARK

SECRET = 'pass"word-1234'


def test_a_secret_is_found_as_it_is_and_as_json_writes_it() -> None:
    clean = Redaction([SECRET, ""])
    assert clean.redact_text(f"a {SECRET} b") == "a [redacted] b"
    assert (
        clean.redact_event(make_raw_event('{"key": "pass\\"word-1234"}', "x")).payload["line"]
        == '{"key": "[redacted]"}'
    )


def test_a_text_that_was_cut_inside_a_secret_loses_its_beginning_too() -> None:
    text_event = make_event("notice", text="x" * (MAX_TEXT_BYTES - 6) + SECRET)
    assert text_event.payload["text"].endswith('pass"w')
    assert Redaction([SECRET]).redact_event(text_event).payload["text"].endswith("xxx")


def test_a_secret_at_an_omission_loses_its_halves_on_both_sides() -> None:
    for length in range(1, len(SECRET)):
        text = f"x{SECRET[:length]}{OMISSION_MARK}{SECRET[-length:]}y"
        assert Redaction([SECRET]).redact_text(text) == f"x{OMISSION_MARK}y"
    long = make_event("text", text=SECRET * MAX_TEXT_BYTES)
    text = Redaction([SECRET]).redact_event(long).payload["text"]
    assert set(text.replace(OMISSION_MARK, "").split("[redacted]")) == {""}


def test_the_longest_possible_beginning_is_held_back() -> None:
    clean = Redaction(["abcabd"])
    assert clean.measure_secret_prefix("xxabcab") == 5
    assert clean.measure_secret_prefix("xxabd") == 0
    assert Redaction([]).measure_secret_prefix("anything") == 0
