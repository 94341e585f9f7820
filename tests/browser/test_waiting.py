"""What somebody sees who waits, and who is cut off; and that fingers find what they are to press."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import House, Opened, Tab

pytestmark = pytest.mark.browser

MISSED = """selector => [...document.querySelectorAll(selector)].filter(e => {
  if (!e.checkVisibility()) return false
  e.scrollIntoView({block: "center", inline: "center"})
  const box = e.getBoundingClientRect(), x = box.left + box.width / 2, y = box.top + box.height / 2
  const at = (x, y) => { const hit = document.elementFromPoint(x, y); return hit === e || e.contains(hit) }
  return ![[x, y - 19], [x, y + 19], [x - 19, y], [x + 19, y]].every(([x, y]) => x < 0 || x > innerWidth || at(x, y))
}).map(e => e.outerHTML.slice(0, 80))"""
"""The controls that a press 19 pixels beside their middle does not hit."""


def slowly(route: Route) -> None:
    time.sleep(1.5)
    route.continue_()


def test_a_control_says_that_what_it_does_is_on_its_way(house: House, page: Page) -> None:
    ticket = house.ticket(assigned_to=None)
    page.goto(f"/ticket/{ticket}")
    page.route(f"**/ticket/{ticket}/say", slowly)
    page.fill("#say", "Look again.")
    button = page.get_by_role("button", name="Comment", exact=True)
    with page.expect_response(f"**/ticket/{ticket}/say"):
        button.click()
        assert page.evaluate("document.querySelectorAll('[aria-busy=true]').length") == 1
        expect(button).to_be_disabled()
    expect(page.locator(".entry")).to_contain_text(["Look again."])
    assert page.evaluate("document.querySelectorAll('[aria-busy=true]').length") == 0


def test_a_dialog_that_takes_a_moment_opens_with_words(page: Page) -> None:
    page.goto("/board?view=list")
    page.route("**/ticket/new*", slowly)
    page.keyboard.press("c")
    dialog = page.locator("#ticket-dialog")
    expect(dialog.get_by_text("Reading the form…")).to_be_visible()
    expect(dialog.get_by_label("Title")).to_be_focused()


def test_who_closes_it_meanwhile_does_not_get_it_later(page: Page) -> None:
    page.goto("/board?view=list")
    page.route("**/ticket/new*", slowly)
    with page.expect_response("**/ticket/new*"):
        page.keyboard.press("c")
        expect(page.locator("#ticket-dialog")).to_be_visible()
        page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    expect(page.locator("#ticket-dialog")).to_be_hidden()


def test_who_closes_it_meanwhile_is_not_led_away_by_a_refusal(page: Page) -> None:
    page.goto("/board?view=list")
    held: list[Route] = []
    page.route("**/ticket/new*", lambda route: held.append(route))
    page.keyboard.press("c")
    expect(page.locator("#ticket-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#ticket-dialog")).to_be_hidden()
    with page.expect_response("**/ticket/new*"):
        held[0].fulfill(status=503)
    page.wait_for_timeout(200)
    assert len(held) == 1, "it went to the page instead"


def test_what_was_asked_for_last_is_what_is_shown(house: House, page: Page) -> None:
    ticket = house.ticket(assigned_to=None)
    page.goto(f"/ticket/{ticket}")
    page.route("**/move/park*", slowly)
    with page.expect_response("**/move/park*"):
        for move in ("park", "block"):
            page.evaluate(f"document.querySelector('[data-move-form][href$={move}]').click()")
        expect(page.locator("#move-title")).to_contain_text("Block")
    page.wait_for_timeout(200)
    expect(page.locator("#move-title")).to_contain_text("Block")


def test_nothing_breathes_while_no_news_arrives(house: House, opened: Opened) -> None:
    context = opened()
    page = context.new_page()
    run = house.claim(house.ticket())
    house.beat(run, "running")
    page.goto("/board?view=columns")
    expect(page.locator("#connection")).to_have_attribute("data-link", "live")
    moves = "getComputedStyle(document.querySelector('.card .dot')).animationName"
    assert page.evaluate(moves) == "breathe"
    context.set_offline(True)
    expect(page.locator("html")).to_have_attribute("data-link", "lost")
    assert page.evaluate(moves) == "none"


def test_not_reached_is_not_the_same_as_not_found(opened: Opened) -> None:
    context = opened()
    page = context.new_page()
    page.goto("/ticket/new?status=waiting")
    context.set_offline(True)
    page.get_by_label("Wake it").select_option("ticket")
    page.get_by_role("combobox", name="Ticket").press_sequentially("zebra")
    expect(page.get_by_role("listbox", name="Tickets found").first).to_contain_text("cannot be looked up now")
    page.keyboard.press("Control+k")
    page.keyboard.type("zebra")
    expect(page.locator("#palette")).to_contain_text("only what this page knows is listed")


@pytest.mark.parametrize(
    ("path", "controls"),
    [
        ("/board?view=columns", ".segments a, .card .menu > summary, .pick, .topbar .pill"),
        ("/", ".verdict-row > a, .panel > header > a"),
        ("/ticket/{ticket}", ".tabs a, .copy, .title-box summary, .fold > summary, .corner > summary"),
        ("/ticket/new", ".choice, .written > .button"),
    ],
)
def test_fingers_have_forty_pixels(house: House, tab: Tab, path: str, controls: str) -> None:
    ticket = house.ticket(description="```sh\nls\n```")
    page = tab(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(path.format(ticket=ticket))
    page.wait_for_selector("html[data-js]")
    assert page.locator(controls).count() > 0
    assert page.evaluate(MISSED, controls) == []
