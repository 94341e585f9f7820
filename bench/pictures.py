"""The pictures of the README, taken anew from a demo in a home of its own: `bin/pictures`. Needs Chromium.

The board is pictured while the script agent works its tickets, so each shows what really happened.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from cli.demo import add_demo
from database import reading
from models import TicketStatus
from tickets.operations import health
from tickets.shared.lookup import get

from .installation import ROOT, Installation, installation
from .rows import until

FOLDER = ROOT / "docs" / "pictures"
WIDTHS = {"board": 1840}
WIDTH, HEIGHT = 1440, 860
LARGEST = 200_000
PAGES = {"board": "/board", "overview": "/", "ticket": "/ticket/MC-1", "changes": "/ticket/MC-1?tab=changes"}
WANTED = {
    "MC-1": TicketStatus.IN_REVIEW,
    "MC-2": TicketStatus.IN_PROGRESS,
    "MC-3": TicketStatus.IN_REVIEW,
    "MC-4": TicketStatus.INBOX,
    "MC-5": TicketStatus.NEEDS_INPUT,
    "MC-6": TicketStatus.TODO,
    "MC-7": TicketStatus.WAITING,
}
"""The demo's tickets while the slow one is still at work."""


def main() -> None:
    """Write docs/pictures/<page>-<theme>.png."""
    FOLDER.mkdir(exist_ok=True)
    with installation(MC_MAX_WORKERS=4) as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        place.serve()
        pages = {theme: _open(browser, place, theme) for theme in ("dark", "light")}
        place.start("mc_scheduler.py")
        add_demo(place.settings, place.engine)
        until(lambda: _is_worked(place), "the demo's tickets")
        for name, path in PAGES.items():
            for theme, page in pages.items():
                page.set_viewport_size({"width": WIDTHS.get(name, WIDTH), "height": HEIGHT})
                _take(page, path, FOLDER / f"{name}-{theme}.png")
        browser.close()


def _open(browser: Browser, place: Installation, theme: str) -> Page:
    context = browser.new_context(base_url=place.settings.api_url, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/login")
    page.fill("[name=token]", place.token)
    page.click("button")
    return page


def _is_worked(place: Installation) -> bool:
    with reading(place.engine) as session:
        working = health.verdict(session, place.settings.home).verdict == "working"
        return working and all(get(session, name).status is status for name, status in WANTED.items())


def _take(page: Page, path: str, target: Path) -> None:
    page.goto(path)
    page.wait_for_selector("#connection[data-link=live]")
    page.screenshot(path=target, animations="disabled")
    size = target.stat().st_size
    print(f"{target.relative_to(ROOT)}  {size // 1000} kB")
    if size > LARGEST:
        raise SystemExit(f"{target.name} is larger than {LARGEST // 1000} kB")


if __name__ == "__main__":
    main()
