"""Take the pictures of the README from a demo in a home of its own: `bin/pictures`. Needs Chromium.

The pictures are taken while the script agent works on the demo's tickets, so they show real activity.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from cli.demo import add_demo
from database import reading
from models import TicketStatus
from secret_files import build_browser_url
from tickets.operations import health
from tickets.shared.lookup import get_ticket

from .installation import ROOT, Installation, create_installation
from .rows import wait_until

FOLDER = ROOT / "docs" / "pictures"
WIDTHS = {"board": 1840}
WIDTH, HEIGHT = 1440, 860
MAX_BYTES = 200_000
PAGES = {"board": "/board", "overview": "/", "ticket": "/ticket/MC-1", "changes": "/ticket/MC-1?tab=changes"}
EXPECTED_STATES = {
    "MC-1": TicketStatus.IN_REVIEW,
    "MC-2": TicketStatus.IN_PROGRESS,
    "MC-3": TicketStatus.IN_REVIEW,
    "MC-4": TicketStatus.INBOX,
    "MC-5": TicketStatus.NEEDS_INPUT,
    "MC-6": TicketStatus.TODO,
    "MC-7": TicketStatus.WAITING,
}
"""The states of the demo's tickets while the slow one is still in progress."""


def main() -> None:
    """Write docs/pictures/<page>-<theme>.png."""
    FOLDER.mkdir(exist_ok=True)
    with create_installation(MC_MAX_WORKERS=4) as instance, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        instance.serve()
        pages = {theme: _open_page(browser, instance, theme) for theme in ("dark", "light")}
        instance.start("mc_scheduler.py")
        add_demo(instance.settings, instance.engine)
        wait_until(lambda: _is_worked(instance), "the demo's tickets")
        for name, path in PAGES.items():
            for theme, page in pages.items():
                page.set_viewport_size({"width": WIDTHS.get(name, WIDTH), "height": HEIGHT})
                _take_picture(page, path, FOLDER / f"{name}-{theme}.png")
        browser.close()


def _open_page(browser: Browser, instance: Installation, theme: str) -> Page:
    context = browser.new_context(base_url=build_browser_url(instance.settings), color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/login")
    page.fill("[name=token]", instance.token)
    page.click("button")
    return page


def _is_worked(instance: Installation) -> bool:
    with reading(instance.engine) as session:
        working = health.build_report(health.load_results(session)).verdict == "working"
        return working and all(get_ticket(session, name).status is status for name, status in EXPECTED_STATES.items())


def _take_picture(page: Page, path: str, target: Path) -> None:
    page.goto(path)
    page.wait_for_selector("#connection[data-link=live]")
    page.screenshot(path=target, animations="disabled")
    size = target.stat().st_size
    print(f"{target.relative_to(ROOT)}  {size // 1000} kB")
    if size > MAX_BYTES:
        raise SystemExit(f"{target.name} is larger than {MAX_BYTES // 1000} kB")


if __name__ == "__main__":
    main()
