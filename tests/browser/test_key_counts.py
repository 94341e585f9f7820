"""The keys and clicks of ten everyday jobs, counted with real events and printed (`pytest -s`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from database import writing
from tests.waiting import wait_until
from tests.workers.repositories import create_repository
from tickets.team import agents, projects
from tickets.team.projects import NewProject

from .conftest import OPERATOR, BoardSite
from .test_live_pages import go, wait_until_live

pytestmark = pytest.mark.browser


@dataclass
class CountingPage:
    """A page whose keys, clicks and drags are counted. The words of a person are not."""

    page: Page
    count: int = 0

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.count += 1

    def type(self, words: str) -> None:
        self.page.keyboard.type(words)

    def click(self, target: Locator) -> None:
        target.click()
        self.count += 1

    @contextmanager
    def job(self, name: str, path: str, limit: int) -> Iterator[None]:
        """Count one job from a loaded page on which nothing has the focus."""
        go(self.page, path)
        assert self.page.evaluate("document.activeElement === document.body")
        self.count = 0
        yield
        print(f"{name}: {self.count} of {limit}")
        assert self.count <= limit, name


@pytest.fixture
def furnished_site(site: BoardSite, tmp_path: Path) -> BoardSite:
    """A site with two agents that run and three projects."""
    with writing(site.store) as session:
        agents.add_agent(session, agents.NewAgent(name="helper", runnable=True, profile="script"), OPERATOR)
        for slug in ("api", "docs"):
            folder = str(create_repository(tmp_path / slug, a="one\n"))
            projects.add_project(session, NewProject(slug=slug, name=slug, folder=folder), OPERATOR)
    return site


def test_ten_jobs_take_few_keys_and_clicks(furnished_site: BoardSite, page: Page, tmp_path: Path) -> None:
    site, counting = furnished_site, CountingPage(page)
    state: Callable[[str], str] = lambda ticket: str(site.load_ticket(ticket)["status"])  # noqa: E731
    review = site.hand_in(tmp_path / "web")
    unmet_ticket = site.hand_in(tmp_path / "shop")
    commented = site.hand_in(tmp_path / "blog")
    asking = site.ticket(title="Which colour?")
    site.report_verdict(asking, "question")
    site.edit(unmet_ticket, acceptance=["It greets by name"])
    parked_ticket = site.ticket(title="Wait for the release")
    site.move(parked_ticket, "park", wake={"kind": "manual"})
    todo = [site.ticket(title=f"Number {number}") for number in range(3)]

    with counting.job("create and start an agent", "/board", 4):
        counting.press("c")
        expect(page.get_by_label("Title")).to_be_focused()
        counting.type("Fix the CSV export @helper")
        counting.press("Control+Enter")
        expect(page.get_by_text("Fix the CSV export").first).to_be_visible()
    created = f"MC-{int(todo[-1].removeprefix('MC-')) + 1}"
    assert site.load_ticket(created) | {"assigned_to": "helper", "status": "todo"} == site.load_ticket(created)

    with counting.job("set a property", f"/ticket/{todo[0]}", 2):
        counting.press("p")
        expect(page.locator("#property-dialog .item").first).to_be_visible()
        counting.press("1")
        expect(page.locator("#property-dialog")).to_be_hidden()
    assert site.load_ticket(todo[0])["priority"] != "normal"

    with counting.job("move a card by one drag", "/board?view=columns", 1):
        page.locator(f"#card-{parked_ticket}").drag_to(page.locator("[data-column='todo']"))
        counting.count += 1
        wait_until(lambda: state(parked_ticket) == "todo", description="the move")

    with counting.job("answer from the overview", "/", 2):
        row = page.locator("main li", has_text="Which colour?").first
        counting.click(row.get_by_role("link", name="Answer"))
        expect(page.locator("textarea:focus")).to_be_visible()
        wait_until_live(page)
        counting.type("Blue.")
        counting.press("Control+Enter")
        wait_until(lambda: state(asking) == "todo", description="the answer")

    with counting.job("one line comment and request changes", f"/ticket/{commented}?tab=changes", 4):
        line = page.locator("[data-remark]").last
        counting.click(line)
        expect(page.locator("textarea:focus")).to_be_visible()
        counting.type("Greet by name.")
        counting.click(page.get_by_role("button", name="Request changes").last)
        expect(page.locator("#ticket-head .state")).to_have_text("To do")

    with counting.job("approve and merge", f"/ticket/{review}", 1):
        counting.click(page.get_by_role("button", name="Approve and merge").first)
        expect(page.locator("#ticket-head")).to_contain_text("Approved by")

    with counting.job("approve with an unmet item", f"/ticket/{unmet_ticket}", 3):
        counting.click(page.get_by_text("1 acceptance item unmet").first)
        expect(page.get_by_label("Why approve it anyway?")).to_be_focused()
        counting.type("Agreed by phone.")
        counting.press("Control+Enter")
        expect(page.locator("#ticket-head")).to_contain_text("Approved by")

    with counting.job("park until tomorrow", f"/ticket/{todo[2]}", 3):
        counting.press("t")
        expect(page.locator("#property-dialog .item").first).to_be_visible()
        counting.press("2")
        expect(page.locator("#ticket-head .state")).to_have_text("Waiting")

    with counting.job("select several and move them", "/board?view=list", 4):
        counting.click(page.locator(f"#card-{todo[0]} [data-select]"))
        counting.click(page.locator(f"#card-{todo[1]} [data-select]"))
        counting.press("t")
        expect(page.locator("#property-dialog .item").first).to_be_visible()
        counting.press("2")
        expect(page.locator("#property-dialog")).to_be_hidden()
    assert [state(ticket) for ticket in todo] == ["waiting"] * 3

    with counting.job("jump to a ticket by words", "/board", 2):
        counting.press("/")
        counting.type("Which colour")
        expect(page.locator("[role=option][aria-selected=true]")).to_contain_text("Which colour?")
        counting.press("Enter")
        expect(page).to_have_url(f"{site.base}/ticket/{asking}")


SLOW_LINE = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 94_000}
"""Fast 3G, in milliseconds and bytes per second."""


@contextmanager
def slow_line(page: Page) -> Iterator[None]:
    """Slow the network of a page down."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW_LINE)
    yield
    session.detach()


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus."""
    expect(target).to_be_visible()
    for _ in range(120):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not reached by Tab")


def test_the_whole_path_is_walked_by_keyboard_over_3g(site: BoardSite, page: Page) -> None:
    state = page.locator("#ticket-head .state")
    with slow_line(page):
        go(page, "/board")
        page.keyboard.press("c")
        expect(page.get_by_label("Title")).to_be_focused()
        page.keyboard.type("Greet by name @script")
        page.keyboard.press("Control+Enter")
        expect(state).to_have_text("To do")
        ticket = page.url.rpartition("/")[2]

        site.report_verdict(ticket, "question")
        expect(state).to_have_text("Needs input")
        tab_to(page, page.get_by_label("Your answer"))
        page.keyboard.type("By the first name.")
        page.keyboard.press("Control+Enter")
        expect(state).to_have_text("To do")

        site.report_verdict(ticket, "review")
        expect(state).to_have_text("In review")
        tab_to(page, page.get_by_role("button", name="Approve").first)
        page.keyboard.press("Enter")
        expect(state).to_have_text("Done")
