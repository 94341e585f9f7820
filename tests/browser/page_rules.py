"""Rules for every page, each checked on one loaded page at all sizes and in all themes that matter for the rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page, expect

AXE = (Path(__file__).parent.parent / "vendor" / "axe.min.js").read_text("utf-8")
CUT_OFF = (Path(__file__).parent / "cut_off.js").read_text("utf-8").split("\n", 1)[1]

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOR_RULES = ["color-contrast", "link-in-text-block"]
"""Rules of axe whose result depends on the theme. All others are checked in one theme."""

PHONE = (360, 2400)
"""Viewport of a phone, so tall that no control is covered by a fixed bar by chance."""
DESK = (1440, 900)
HTML = "document.documentElement"

VIOLATIONS = """options => axe.run(document, {resultTypes: ["violations"], ...options})
  .then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes[0].target}`))"""
LAID_OUT = """new Promise((done) => {
  requestAnimationFrame(() => requestAnimationFrame(done))
  setTimeout(done, 5000) // Chromium draws no frame of a page that it takes for hidden
})"""
MOVING = """() => [
  ...document.getAnimations().map((each) => each.effect.target.className),
  ...[...document.querySelectorAll("*")].filter((e) => getComputedStyle(e).transitionDuration !== "0s").map((e) => e.className),
]"""
WITHOUT_LINE = """() => [
  ...document.querySelectorAll(":is(.rail, .segments) [aria-current], .button:not(.plain), .input, .panel, .card")]
  .filter((element) => element.checkVisibility())
  .filter((element) => getComputedStyle(element).borderTopStyle === "none" && getComputedStyle(element).outlineStyle === "none")
  .map((element) => element.className)"""

Theme = Literal["dark", "light"]


@dataclass(frozen=True)
class ReaderSetting:
    """Browser settings of a user for reading, such as zoom or colors."""

    size: tuple[int, int]
    letters: str = ""
    forced_colors: bool = False


READER_SETTINGS = {
    "200 %": ReaderSetting((720, 450)),
    "400 %": ReaderSetting((320, 256)),
    "large letters": ReaderSetting((1280, 800), letters="20px"),
    "large letters on a phone": ReaderSetting((360, 800), letters="20px"),
    "own colours": ReaderSetting((1280, 800), forced_colors=True),
}


def open_page(page: Page, path: str) -> None:
    """Load a page at phone size, where scripts detect content that is too wide, and wait until it is live."""
    resize(page, PHONE)
    page.goto(path)
    page.wait_for_selector("html[data-js]")
    for link in page.locator("#connection").all():
        expect(link).to_have_attribute("data-link", "live")
    page.evaluate("document.fonts.ready.then(() => true)")


def resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})


def find_violations(page: Page, rules: list[str] = STANDARDS, kind: str = "tag") -> list[str]:
    """Check the page with axe as it is displayed now, and list the violations."""
    if not page.evaluate("'axe' in self"):
        page.evaluate(AXE)
    violations: list[str] = page.evaluate(VIOLATIONS, {"runOnly": {"type": kind, "values": rules}})
    return violations


def find_violations_in_both_themes(page: Page, theme: Theme) -> Iterator[str]:
    """Check all rules in this theme, and those about colors in the other theme too."""
    other: Theme = "light" if theme == "dark" else "dark"
    for scheme, rules, kind in ((theme, STANDARDS, "tag"), (other, COLOR_RULES, "rule")):
        page.emulate_media(color_scheme=scheme)
        yield from (f"{text} ({scheme})" for text in find_violations(page, rules, kind))


def check_accessibility(page: Page) -> Iterator[str]:
    """Check an open page at phone and desktop size, in both themes."""
    looks: list[tuple[tuple[int, int], Theme]] = [(PHONE, "dark"), (DESK, "light")]
    for (width, height), theme in looks:
        resize(page, (width, height))
        page.evaluate(LAID_OUT)
        yield from (f"{text} at {width}" for text in find_violations_in_both_themes(page, theme))
        scroll_width = page.evaluate(f"{HTML}.scrollWidth")
        if scroll_width > width:
            yield f"{scroll_width} pixels wide at {width}"


def check_reading(page: Page) -> Iterator[str]:
    """Check an open page with settings of users: zoom, large text, forced colors, reduced motion."""
    yield from (f"{name} moves" for name in page.evaluate(MOVING))
    for name, setting in READER_SETTINGS.items():
        apply(page, setting)
        yield from (f"{text} ({name})" for text in page.evaluate(CUT_OFF))
        if setting.forced_colors:
            yield from (f"{text} has no line ({name})" for text in page.evaluate(WITHOUT_LINE))
    apply(page, ReaderSetting(PHONE))


def apply(page: Page, setting: ReaderSetting) -> None:
    resize(page, setting.size)
    forced: dict[str, Any] = {"forced_colors": "active" if setting.forced_colors else "none"}
    page.emulate_media(color_scheme="dark", **forced)
    page.evaluate(f"{HTML}.style.setProperty('font-size', {json.dumps(setting.letters)}, 'important')")
    page.evaluate(LAID_OUT)
