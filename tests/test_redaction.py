"""Secrets are found whole, in pieces, between control characters and beside a cut, and a text is cut after that."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redaction import (
    MIN_SECRET_LENGTH,
    OMISSION_MARK,
    READ_MARGIN_BYTES,
    REDACTION_MARK,
    SHAPES,
    Keep,
    Redaction,
    StreamRedaction,
    read_run_secrets,
)
from workers.contract.agent_events import MAX_TEXT_BYTES, AgentEvent, clean_event, make_event, make_raw_event
from workers.contract.spec import read_redaction, write_spec

from .canary import CANARY, KEY, list_leaks, put_escape
from .workers.runs import build_spec

SECRET = 'pass"word-1234'
REDACTION = Redaction([CANARY])
TOKENS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11ABCDEFG0123456789_abcdefghij",
    "glpat-Ab1Cd2Ef3Gh4Ij5Kl6Mn",
    "sk-ant-api03-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8",
    "xoxb-123456789012-abcdefghijkl",
    "AIzaSyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "mc_" + "Ab1_" * 10 + "xyz",
    "mcb_" + "Ab1_" * 10 + "xyz",
    KEY.strip(),
]


def test_a_secret_is_found_as_it_is_and_as_json_writes_it() -> None:
    redaction = Redaction([SECRET, "", "schlüssel-ß-9"])
    assert redaction.clean_text(f"a {SECRET} b") == "a [redacted] b"
    for value in (SECRET, "schlüssel-ß-9"):
        for line in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(json.dumps(value))):
            assert value[-6:] not in redaction.clean_text(line) and REDACTION_MARK in redaction.clean_text(line)
    raw_event = make_raw_event('{"key": "pass\\"word-1234"}', "x")
    assert clean_event(raw_event, redaction).payload["line"] == '{"key": "[redacted]"}'
    assert redaction.clean_value({f"k {SECRET}": [SECRET, 1, None]}) == {"k [redacted]": ["[redacted]", 1, None]}


def test_overlapping_secrets_are_one_and_the_longest_counts() -> None:
    redaction = Redaction(["hunter22", "hunter22-long", "long-tail"])
    assert redaction.clean_text("a hunter22-long-tail b hunter22") == "a [redacted] b [redacted]"


def test_of_a_value_its_lines_and_the_passwords_of_its_urls_are_secret_too() -> None:
    address = "postgres://board:s3cret%2Fword@db.example/board"
    redaction = Redaction([KEY, address])
    assert list_leaks("\n".join(redaction.clean_text(line) for line in KEY.splitlines()), KEY) == []
    for text in (address, "password=s3cret%2Fword", "password=s3cret/word"):
        assert "s3cret" not in redaction.clean_text(text)


@pytest.mark.parametrize("keep", ["start", "end", "both"])
def test_controls_are_stripped_then_secrets_redacted_and_only_then_is_cut(keep: Keep) -> None:
    """Regression: 40 of 48 characters of a secret were left where a text was cut first."""
    for shift in range(0, 60, 3):
        text = "x" * (64 - shift) + put_escape(CANARY) + "y" * (64 + shift)
        assert list_leaks(REDACTION.clean_text(text, 96, keep)) == []
    assert REDACTION.clean_text("é" * 100, 33, keep).strip("é") in ("", OMISSION_MARK)


def test_a_secret_at_an_omission_loses_its_halves_on_both_sides() -> None:
    redaction = Redaction([SECRET])
    for length in range(1, len(SECRET)):
        text = f"x{SECRET[:length]}{OMISSION_MARK}{SECRET[-length:]}y"
        assert redaction.clean_text(text) == f"x{OMISSION_MARK}y"
    torn_escape = f"x {CANARY[:30]}\x1b[3{OMISSION_MARK}1m{CANARY[18:]} y"
    assert list_leaks(REDACTION.clean_text(torn_escape)) == []


def test_a_title_and_a_nested_text_of_an_event_are_cut_after_the_redaction() -> None:
    call = make_event("tool_call", title="t" * 80 + CANARY, input={"command": "c" * (MAX_TEXT_BYTES - 30) + CANARY})
    clean = clean_event(call, REDACTION)
    assert list_leaks(json.dumps(clean.payload)) == [] and clean.payload["title"] == "t" * 80 + REDACTION_MARK
    assert len(clean_event(make_event("tool_call", title="t" * 500), REDACTION).payload["title"]) == 120
    event = make_event("tool_call", input={"k" * 240 + CANARY: 1})
    assert list_leaks(json.dumps(clean_event(event, REDACTION).payload)) == []


def test_a_file_that_was_not_read_from_its_start_shows_no_end_of_a_secret(tmp_path: Path) -> None:
    """Regression: the tail of a check's output began with 36 of 48 characters."""
    for rest in range(1, len(CANARY), 5):
        content = f"{'x' * READ_MARGIN_BYTES}\n{CANARY}{'y' * (100 - rest)}"
        tail = REDACTION.read_tail(io.BytesIO(content.encode()), 100)
        assert list_leaks(tail) == [] and tail.endswith("y" * (100 - rest))
    log = io.BytesIO((CANARY + "z" * (READ_MARGIN_BYTES + 90)).encode())
    assert list_leaks(REDACTION.read_tail(log, 10 * READ_MARGIN_BYTES)) == []


def test_a_file_is_redacted_as_text_and_refused_where_it_is_none() -> None:
    assert REDACTION.clean_file(b"\x1b[1mno secret") == b"\x1b[1mno secret"
    assert REDACTION.clean_file(f"a {put_escape(CANARY)} b".encode()) == b"a [redacted] b"
    assert REDACTION.clean_file(b"\x89PNG\xff\xfe") == b"\x89PNG\xff\xfe"
    with pytest.raises(ValueError, match="contains a secret"):
        REDACTION.clean_file(b"\xff\xfe" + CANARY.encode())


@given(st.lists(st.integers(1, 7), max_size=40), st.booleans())
def test_a_secret_that_is_cut_across_pieces_of_a_stream_is_never_shown(sizes: list[int], escaped: bool) -> None:
    text = f"see {put_escape(CANARY) if escaped else CANARY} and {CANARY[:12]} here\r\nghp_16C7e42F292c6912E7710c838347Ae178B4a."
    stream = StreamRedaction(REDACTION)
    output = ""
    for size in sizes:
        output += stream.feed(text[:size])
        text = text[size:]
    output += stream.feed(text) + stream.close()
    assert output == f"see {REDACTION_MARK} and {CANARY[:12]} here\n{REDACTION_MARK}."


def test_the_longest_possible_beginning_is_held_back() -> None:
    stream = StreamRedaction(Redaction(["abcabd-secret", "abcabd"]))
    assert [stream.feed("xxabcab"), stream.feed("d"), stream.feed("-secre"), stream.feed("t.")] == [
        "xx",
        "",
        "",
        "[redacted].",
    ]
    assert StreamRedaction(SHAPES).feed("anything else") == "anything else"


def test_a_stream_that_ends_within_a_secret_shows_no_beginning_of_it() -> None:
    stream = StreamRedaction(REDACTION)
    assert stream.feed(f"see {CANARY[:30]}") + stream.close() == f"see {REDACTION_MARK}"
    assert stream.feed("the letter Z") + stream.close() == "the letter Z"


@pytest.mark.parametrize("text", ["sk-" * 100_000, "eyJ-" * 8_000, "-----BEGIN " * 30_000, "://a:" * 50_000])
def test_no_text_keeps_the_search_for_shapes_busy(text: str) -> None:
    """Each takes hours with patterns that search the rest of the text from each beginning."""
    assert SHAPES.clean_text(text + " ") == text + " "


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(
    "around", ["export X={}\n", "令牌{}です", '{{"text": "first\\n{}\\n"}}', "x\\u0009{} ", "?q=token%3D{}&b"]
)
def test_the_shapes_of_known_tokens_are_redacted_wherever_one_begins(token: str, around: str) -> None:
    """Regression: a token after a line break in JSON, or beside a letter of a language without spaces, was taken for a word."""
    text = around.format(token)
    assert list_leaks(SHAPES.clean_text(text), token) == []
    stream = StreamRedaction(SHAPES)
    output = "".join(map(stream.feed, text)) + stream.close()
    assert list_leaks(output, token) == []


def test_a_key_is_redacted_in_a_patch_that_removes_it_and_in_its_encrypted_form() -> None:
    """Regression: all lines of such a key were shown but the first, and on the page of changes those of every key."""
    removal = "".join(f"-{line}\n" for line in KEY.splitlines())
    encrypted = KEY.replace("-----\nM", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\nM")
    for text in (removal, encrypted, removal.replace("-MII", "-\n-MII")):
        assert list_leaks(SHAPES.redact_text(text), KEY) == [] and SHAPES.redact_text(text + "- kept").endswith(
            "- kept"
        )
    lines = ["kept", *KEY.splitlines(), "kept"]
    assert SHAPES.redact_lines(lines) == ["kept", *[REDACTION_MARK] * 5, "kept"]


def test_of_a_url_the_password_alone_is_redacted() -> None:
    assert SHAPES.clean_text("psql postgres://me:hunter2@db/x") == "psql postgres://me:[redacted]@db/x"
    for text in (
        "http://localhost:3001/@me and ssh://git@host:22/x",
        "postgres://me:$PASSWORD@db/x",
        "a task-force of sk-learn and disk-usage-of-the-whole-machine",
        "mc_report_done mc_get_ticket eyJ SG. npm_config_registry",
    ):
        assert SHAPES.clean_text(text) == text


def test_the_secrets_of_a_run_are_read_from_its_spec(tmp_path: Path) -> None:
    spec = build_spec(tmp_path, secrets=(CANARY,))
    write_spec(tmp_path, spec)
    clean = read_redaction(tmp_path).clean_text(f"{CANARY} {spec.token} {spec.nonce}")
    assert clean == " ".join([REDACTION_MARK] * 3)
    assert read_redaction(tmp_path / "absent") is SHAPES
    with pytest.raises(ValueError, match="names no secrets"):
        read_run_secrets(b"{}")
    assert len(min(spec.all_secrets, key=len)) >= MIN_SECRET_LENGTH


def test_a_message_that_is_nothing_but_secrets_is_nothing_but_marks() -> None:
    long = clean_event(AgentEvent("text", {"text": SECRET * 20_000}), Redaction([SECRET]))
    assert set(long.payload["text"].replace(OMISSION_MARK, "")) <= set(REDACTION_MARK)
