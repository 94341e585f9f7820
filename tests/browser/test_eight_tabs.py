"""Eight tabs, one stream: all hear everything once, whoever of them reads it, and whatever happens to it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.waiting import wait_until
from tests.web.served_board import Stage, staged

from .conftest import logged_in

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("eight tabs")]

LISTEN = """async () => {
  const { stream } = await import(document.querySelector("script[src$='/app.js']").src);
  self.heard = [];
  stream.addEventListener("news", ({ detail }) => self.heard.push(detail.payload.text ?? detail.event_type));
  stream.addEventListener("resync", () => self.heard.push("resync"));
  stream.addEventListener("lead", () => (self.leads = true));
}"""
HEARD = "self.heard"


class Tabs:
    """Eight pages of one browser: boards, tickets, and what has no live part at all."""

    def __init__(self, board: Stage, context: BrowserContext) -> None:
        _, name = board.ticket()
        self.board = board
        self.context = context
        self._paths = [
            "/board",
            f"/ticket/{name}",
            "/board",
            "/",
            "/tasks",
            f"/ticket/{name}?tab=runs",
            "/activity",
            "/help",
        ]
        self.pages: list[Page] = []

    def fill(self) -> None:
        """Open what an earlier test has closed, and forget what was heard before."""
        for path in self._paths[: len(self._paths) - len(self.pages)]:
            page = self.context.new_page()
            page.goto(path)
            is_live(page)
            page.evaluate(LISTEN)
            self.pages.append(page)
        for page in self.pages:
            is_live(page)
            page.evaluate("self.heard = []")

    def read_received(self) -> list[list[str]]:
        return [page.evaluate(HEARD) for page in self.pages]

    def all_hear(self, texts: list[str]) -> None:
        """Each of these once and in their order, in every tab, and nothing of the kind besides."""
        wait_until(
            lambda: all(tab_texts[-1:] == texts[-1:] for tab_texts in self.read_received()),
            60,
            f"{texts[-1]} in every tab",
        )
        assert self.read_received() == [texts] * len(self.pages)

    def close_first(self) -> None:
        self.pages.pop(0).close()


def is_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-link", "live", timeout=30_000)


def open_streams(board: Stage) -> int:
    metrics, _ = board.page("/metrics", board.token)
    return sum(int(float(line.split()[1])) for line in metrics.splitlines() if 'open{bucket="events"' in line)


def wait_for_one_stream(board: Stage) -> None:
    """Return when one stream is open; the server notices the end of another one when it next writes to it."""
    wait_until(lambda: open_streams(board) == 1, 30, "one open stream")


@pytest.fixture(scope="module")
def board(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(template, tmp_path_factory.mktemp("board") / "home", WS_MAX_CLIENTS=8) as board:
        yield board


@pytest.fixture(scope="module")
def eight_tabs(chromium: Browser, board: Stage) -> Iterator[Tabs]:
    with logged_in(chromium, board, "alice") as context:
        yield Tabs(board, context)


@pytest.fixture
def tabs(eight_tabs: Tabs) -> Tabs:
    eight_tabs.fill()
    return eight_tabs


def test_eight_tabs_hold_one_stream_and_all_hear_what_happens(board: Stage, tabs: Tabs) -> None:
    wait_for_one_stream(board)
    texts = [f"event {number}" for number in range(20)]
    for text in texts:
        board.append(text)
    tabs.all_hear(texts)
    wait_for_one_stream(board)


def test_a_server_that_is_killed_and_comes_back_is_caught_up_with_in_every_tab(board: Stage, tabs: Tabs) -> None:
    board.append("before")
    tabs.all_hear(["before"])
    board.kill()
    board.append("while it was down")
    board.start()
    board.append("after")
    tabs.all_hear(["before", "while it was down", "after"])
    wait_for_one_stream(board)


def test_a_reload_of_the_server_is_not_noticed(board: Stage, tabs: Tabs) -> None:
    board.append("before")
    tabs.all_hear(["before"])
    board.signal(signal.SIGHUP)
    for number in range(10):
        board.append(f"during {number}")
    tabs.all_hear(["before", *(f"during {number}" for number in range(10))])


def test_a_browser_that_was_offline_catches_up(board: Stage, tabs: Tabs) -> None:
    tabs.context.set_offline(True)
    for page in tabs.pages:
        expect(page.locator("[data-offline]")).to_be_visible(timeout=60_000)
    board.append("unheard")
    tabs.context.set_offline(False)
    for page in tabs.pages:
        expect(page.locator("[data-offline]")).to_be_hidden(timeout=60_000)
        is_live(page)
    board.append("heard")
    tabs.all_hear(["unheard", "heard"])
    wait_for_one_stream(board)


def test_who_reads_the_stream_may_leave_at_any_time_and_nothing_is_lost(board: Stage, tabs: Tabs) -> None:
    texts: list[str] = []
    for turn in range(6):
        for number in range(4):
            texts.append(f"event {turn}.{number}")
            board.append(texts[-1])
            if number == 1:
                tabs.close_first()
        tabs.all_hear(texts)
    assert len(tabs.pages) == 2
    wait_for_one_stream(board)


def test_what_an_agent_says_reaches_the_tabs_of_its_ticket_though_another_reads_the_stream(
    board: Stage, tabs: Tabs
) -> None:
    number, name = board.ticket(title="Another")
    late = tabs.context.new_page()
    late.goto(f"/ticket/{name}")
    is_live(late)
    late.evaluate(LISTEN)
    for turn in range(3):
        tabs.close_first()
        board.append(f"said {turn}", number, "agent.text")
    wait_until(lambda: _complete(late.evaluate(HEARD)), 30, "what the agent said, or word that it must be read again")
    wait_for_one_stream(board)


def _complete(tab_texts: list[str]) -> bool:
    """All of it, in order; where something came between two readers, a resync stands for it."""
    rest = tab_texts[tab_texts.index("resync") :] if "resync" in tab_texts else tab_texts
    return rest[-1:] == ["said 2"] and (
        "resync" in tab_texts or json.dumps(tab_texts) == json.dumps(["said 0", "said 1", "said 2"])
    )
