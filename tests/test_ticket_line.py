"""A line becomes a title and fields; what is not known stays text."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickets.lifecycle.ticket_line import DUE, START, parse_day, parse_line

NAMES = {
    "tags": {"bug": "bug", "infra": "infra"},
    "assigned_to": {"codex": "codex", "me": "alice"},
    "priority": {"high": "high", "urgent": "urgent"},
    "project": {"web": "web"},
}
MONDAY = datetime(2026, 11, 30, 14, 0, tzinfo=ZoneInfo("Europe/Vienna"))

LINES = {
    "Fix CSV export #bug @codex !high tomorrow": (
        "Fix CSV export",
        {"tags": ["bug"], "assigned_to": "codex", "priority": "high", START: "2026-12-01T00:00:00+01:00"},
    ),
    "Handle #include in macros #parser @codex #New-one tomorrow": (
        "Handle #include in macros",
        {"assigned_to": "codex", "tags": ["parser", "new-one"], START: "2026-12-01T00:00:00+01:00"},
    ),
    "+web @ME Write #Infra docs #bug": (
        "Write docs",
        {"tags": ["infra", "bug"], "assigned_to": "alice", "project": "web"},
    ),
    "Send the report due friday": ("Send the report", {DUE: "2026-12-04T23:59:00+01:00"}),
    "Ship it by 2026-12-24 !urgent": ("Ship it", {"priority": "urgent", DUE: "2026-12-24T23:59:00+01:00"}),
    "Fix the monday report": ("Fix the monday report", {}),
    "Fix #12 and C#, a+b, me@web, 1 ! 2": ("Fix #12 and C#, a+b, me@web, 1 ! 2", {}),
    "Look back at 2026-11-29": ("Look back at 2026-11-29", {}),
    "@codex @me twice #bug #bug": ("@me twice #bug", {"assigned_to": "codex", "tags": ["bug"]}),
    "tomorrow": ("", {START: "2026-12-01T00:00:00+01:00"}),
    "": ("", {}),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_a_title_with_fields(line: str) -> None:
    parsed = parse_line(line, NAMES, MONDAY)
    assert (parsed.title, parsed.fields) == LINES[line]


def test_what_is_not_known_stays_in_the_title_and_is_named() -> None:
    parsed = parse_line("Ask @codx about #bgu and #12", NAMES, MONDAY)
    assert (parsed.title, parsed.unknown) == ("Ask @codx about #bgu and #12", ("@codx", "#bgu"))


def test_what_a_person_has_taken_back_stays_text() -> None:
    parsed = parse_line("Explain #bug due friday", NAMES, MONDAY, ["#bug", "due friday"])
    assert (parsed.title, parsed.fields, parsed.unknown) == ("Explain #bug due friday", {}, ())


def test_a_weekday_is_the_next_one() -> None:
    monday = date(2026, 11, 30)
    days = {
        name: parse_day(name, monday) for name in ("monday", "Tuesday", "sunday", "today", "2026-11-30", "2026-13-01")
    }
    assert [day.isoformat() if day else None for day in days.values()] == [
        "2026-12-07",
        "2026-12-01",
        "2026-12-06",
        "2026-11-30",
        "2026-11-30",
        None,
    ]


@given(
    st.lists(
        st.sampled_from(
            ["#bug", "@codex", "!high", "+web", "#none", "due", "friday", "today", "word", "#", "2026-99-99"]
        )
    )
)
def test_no_word_is_lost(words: list[str]) -> None:
    parsed = parse_line(" ".join(words), NAMES, MONDAY)
    texts = [*parsed.title.split(), *(word for token in parsed.tokens for word in token.text.split())]
    assert sorted(texts) == sorted(words)
