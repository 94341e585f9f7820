from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.run import pane
from workers.run.pane import PaneWriter


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal that nobody reads: a pipe's writing end."""
    reading, writing = os.pipe()
    monkeypatch.setattr(pane, "SCREEN_FD", writing)
    yield reading
    os.close(reading)
    os.close(writing)


def test_an_events_account_is_plain_text_under_the_time_of_day(tmp_path: Path, screen: int) -> None:
    PaneWriter(tmp_path / "log").show("text", {"text": "\x1b[31mone\x1b[0m\r\ntwo\x07\n"})
    text = os.read(screen, 1000).decode()
    assert text[8:] == "  one\n          two\n"
    assert (tmp_path / "log").read_text() == text


def test_a_long_result_is_shown_by_its_last_lines(tmp_path: Path, screen: int) -> None:
    PaneWriter(tmp_path / "log").show("tool_result", {"output": "\n".join(map(str, range(100))), "error": True})
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0].endswith("✗ [88 more lines]")
    assert len(lines) == 1 + pane.MAX_RESULT_LINES


def test_a_log_stops_at_its_limit_and_says_so_once(tmp_path: Path, screen: int) -> None:
    window = PaneWriter(tmp_path / "log", limit=200)
    for _ in range(50):
        window.say("x" * 20)
    text = (tmp_path / "log").read_text()
    assert len(text) < 250
    assert text.count("[the log has reached its limit]") == 1


def test_a_terminal_that_takes_nothing_more_holds_nobody_up(tmp_path: Path, screen: int) -> None:
    window = PaneWriter(tmp_path / "log")
    for _ in range(2000):
        window.say("x" * 100)
    assert (tmp_path / "log").stat().st_size > 200_000
