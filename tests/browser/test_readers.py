"""Every page as its readers set it: magnified, in large letters, in their own colours, or without anything that moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import House, Opened
from tests.browser.test_every_page import paths

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CUT_OFF = (Path(__file__).parent / "cut_off.js").read_text("utf-8").split("\n", 1)[1]
SETTINGS: dict[str, dict[str, Any]] = {
    "200 %": {"viewport": {"width": 720, "height": 450}},
    "400 %": {"viewport": {"width": 320, "height": 256}},
    "large letters": {"viewport": {"width": 1280, "height": 800}},
    "large letters on a phone": {"viewport": {"width": 360, "height": 800}},
    "own colours": {"viewport": {"width": 1280, "height": 800}, "forced_colors": "active", "color_scheme": "dark"},
}
LARGE = "html { font-size: 20px !important }"
MOVES = """() => [
  ...document.getAnimations().map((each) => each.effect.target.className),
  ...[...document.querySelectorAll("*")].filter((e) => getComputedStyle(e).transitionDuration !== "0s").map((e) => e.className),
]"""
LINES = """() => [...document.querySelectorAll(":is(.rail, .segments) [aria-current], .button:not(.plain), .input, .panel, .card")]
  .filter((element) => element.checkVisibility())
  .filter((element) => getComputedStyle(element).borderTopStyle === "none" && getComputedStyle(element).outlineStyle === "none")
  .map((element) => element.className)"""


def visit(page: Page, path: str, letters: bool) -> None:
    page.goto(path)
    page.wait_for_selector("html[data-js]")
    page.evaluate("document.fonts.ready.then(() => true)")
    if letters:
        page.add_style_tag(content=LARGE)


@pytest.mark.parametrize("setting", SETTINGS)
def test_nothing_is_cut_off_and_no_page_scrolls_sideways(
    house: House, opened: Opened, setting: str, tmp_path: Path
) -> None:
    page = opened(bypass_csp=True, reduced_motion="reduce", **SETTINGS[setting]).new_page()
    found = []
    for path in paths(house, tmp_path):
        visit(page, path, "letters" in setting)
        found += [f"{path}: {what}" for what in page.evaluate(CUT_OFF)]
        if setting == "own colours":
            found += [f"{path}: {what} has no line" for what in page.evaluate(LINES)]
    assert found == []


def test_nothing_moves_for_who_wants_it_still(house: House, opened: Opened, tmp_path: Path) -> None:
    page = opened(reduced_motion="reduce").new_page()
    for path in paths(house, tmp_path):
        visit(page, path, letters=False)
        assert page.evaluate(MOVES) == [], path


def test_at_four_times_the_size_what_is_written_in_is_not_covered(house: House, opened: Opened) -> None:
    ticket = house.ticket()
    page = opened(viewport={"width": 320, "height": 256}).new_page()
    page.goto(f"/ticket/{ticket}")
    page.locator("#say").click()
    page.keyboard.type("Read by everybody.")
    page.get_by_role("button", name="Comment").click()
    expect(page.locator("#entries")).to_contain_text("Read by everybody.")
    covered = "document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('.composer, .bottom, .topbar')"
    page.evaluate("scrollTo(0, 300)")
    assert page.evaluate(covered) is None
