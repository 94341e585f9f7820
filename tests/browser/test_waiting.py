"""What somebody sees who waits, and who is cut off; and that fingers find what they are to press."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect

from tests.waiting import wait_until

from .conftest import BoardSite, OpenContext, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser

MISSED = """selector => [...document.querySelectorAll(selector)].filter(e => {
  if (!e.checkVisibility()) return false
  e.scrollIntoView({block: "center", inline: "center"})
  const box = e.getBoundingClientRect(), x = box.left + box.width / 2, y = box.top + box.height / 2
  const at = (x, y) => { const hit = document.elementFromPoint(x, y); return hit === e || e.contains(hit) }
  return ![[x, y - 19], [x, y + 19], [x - 19, y], [x + 19, y]].every(([x, y]) => x < 0 || x > innerWidth || at(x, y))
}).map(e => e.outerHTML.slice(0, 80))"""
"""The controls that a press 19 pixels beside their middle does not hit."""


class HeldRequests:
    """The requests to some address, which get no answer until `answer()`."""

    def __init__(self, page: Page, pattern: str) -> None:
        self.routes: list[Route] = []
        self._page = page
        page.route(pattern, lambda route: self.routes.append(route))

    def wait(self) -> None:
        """Return when one has been sent."""
        wait_until(lambda: self._page.title() and self.routes, description="the request")

    def answer(self) -> None:
        for route in self.routes:
            route.continue_()


@contextmanager
def comment_on_its_way(page: Page, ticket: str) -> Iterator[Locator]:
    """Send a comment that gets no answer before the end of the block. Its value is the button."""
    requests = HeldRequests(page, f"**/ticket/{ticket}/say")
    page.fill("#say", "Look again.")
    button = page.get_by_role("button", name="Comment", exact=True)
    with page.expect_response(f"**/ticket/{ticket}/say"):
        button.click()
        requests.wait()
        yield button
        requests.answer()


def test_a_control_says_that_what_it_does_is_on_its_way(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None)
    page.goto(f"/ticket/{ticket}")
    with comment_on_its_way(page, ticket) as button:
        assert page.evaluate("document.querySelectorAll('[aria-busy=true]').length") == 1
        expect(button).to_be_disabled()
    expect(page.locator(".entry")).to_contain_text(["Look again."])
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def test_a_conversation_that_closes_enables_no_button_whose_form_is_being_sent(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None)
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    page.route_web_socket("**/ws/**", connect)
    page.goto(f"/ticket/{ticket}")
    wait_until(lambda: page.title() and sockets, description="the conversation's socket")
    with comment_on_its_way(page, ticket) as button:
        sockets[0].close()
        wait_until(lambda: page.title() and len(sockets) > 1, description="the next socket")
        expect(button).to_be_disabled()
    expect(button).to_be_enabled()


def test_a_dialog_that_takes_a_moment_opens_with_words(page: Page) -> None:
    go(page, "/board?view=list")
    requests = HeldRequests(page, "**/ticket/new*")
    page.keyboard.press("c")
    dialog = page.locator("#ticket-dialog")
    expect(dialog.get_by_text("Loading the form…")).to_be_visible()
    requests.wait()
    requests.answer()
    expect(dialog.get_by_label("Title")).to_be_focused()


def test_who_closes_it_meanwhile_does_not_get_it_later(page: Page) -> None:
    go(page, "/board?view=list")
    requests = HeldRequests(page, "**/ticket/new*")
    with page.expect_response("**/ticket/new*"):
        page.keyboard.press("c")
        expect(page.locator("#ticket-dialog")).to_be_visible()
        requests.wait()
        page.keyboard.press("Escape")
        requests.answer()
    page.wait_for_timeout(200)
    expect(page.locator("#ticket-dialog")).to_be_hidden()


def test_who_closes_it_meanwhile_is_not_led_away_by_a_refusal(page: Page) -> None:
    go(page, "/board?view=list")
    requests = HeldRequests(page, "**/ticket/new*")
    page.keyboard.press("c")
    expect(page.locator("#ticket-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#ticket-dialog")).to_be_hidden()
    requests.wait()
    with page.expect_response("**/ticket/new*"):
        requests.routes[0].fulfill(status=503)
    page.wait_for_timeout(200)
    assert len(requests.routes) == 1, "it went to the page instead"


def test_what_was_asked_for_last_is_what_is_shown(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None)
    page.goto(f"/ticket/{ticket}")
    requests = HeldRequests(page, "**/move/park*")
    with page.expect_response("**/move/park*"):
        for move in ("park", "block"):
            page.evaluate(f"document.querySelector('[data-move-form][href$={move}]').click()")
        expect(page.locator("#move-title")).to_contain_text("Block")
        requests.answer()
    page.wait_for_timeout(200)
    expect(page.locator("#move-title")).to_contain_text("Block")


def test_nothing_pulses_while_no_news_arrives(site: BoardSite, open_context: OpenContext) -> None:
    context = open_context()
    page = context.new_page()
    run = site.claim(site.ticket())
    site.beat(run, "running")
    page.goto("/board?view=columns")
    expect(page.locator("#connection")).to_have_attribute("data-link", "live")
    moves = "getComputedStyle(document.querySelector('.card .dot')).animationName"
    assert page.evaluate(moves) == "pulse"
    context.set_offline(True)
    expect(page.locator("html")).to_have_attribute("data-link", "lost")
    assert page.evaluate(moves) == "none"


def test_not_reached_is_not_the_same_as_not_found(open_context: OpenContext) -> None:
    context = open_context()
    page = context.new_page()
    page.goto("/ticket/new?status=waiting")
    context.set_offline(True)
    page.get_by_label("Wakes", exact=True).select_option("ticket")
    page.get_by_role("combobox", name="Ticket").press_sequentially("zebra")
    expect(page.get_by_role("listbox", name="Tickets found").first).to_contain_text("Search is unavailable")
    page.keyboard.press("Control+k")
    page.keyboard.type("zebra")
    expect(page.locator("#palette")).to_contain_text("Only results from this page are listed")


CONTROLS = {
    "/board?view=columns": ".segments a, .card .menu > summary, .select-box, .topbar .pill",
    "/": ".verdict-row > a, .panel > header > a",
    "/ticket/{ticket}": ".tabs a, .copy, .title-box summary, .disclosure > summary, .corner > summary",
    "/ticket/new": ".choice, .description-field > .button",
}


def test_fingers_have_forty_pixels(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(description="```sh\nls\n```")
    page = tab(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    offences = []
    for path, controls in CONTROLS.items():
        page.goto(path.format(ticket=ticket))
        page.wait_for_selector("html[data-js]")
        assert page.locator(controls).count() > 0, path
        offences += [f"{path}: {element}" for element in page.evaluate(MISSED, controls)]
    assert offences == []
