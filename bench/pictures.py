"""Take the pictures of the README from a demo in a home of its own: `bin/pictures`. Needs Chromium.

The pictures are taken while the script agent works on the demo's tickets, so they show real activity.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from cli.demo import add_demo
from database import reading, writing
from models import AgentKind, TicketStatus
from secret_files import build_browser_url
from tickets.lifecycle import transitions
from tickets.operations import health
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_ticket
from tickets.team import agents, projects
from workers.repository import git

from .installation import BENCH_ACTOR, ROOT, Installation, create_installation
from .rows import wait_until

FOLDER = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1440, 860
MAX_BYTES = 200_000
PAGES = {
    "board": "/board?view=lanes",
    "overview": "/",
    "ticket": "/ticket/MC-1",
    "changes": "/ticket/MC-1?tab=changes",
    "review": "/review",
}
PERSON = "alice"
AUTHOR = ("-c", "user.name=Alice", "-c", "user.email=alice@localhost")
OTHER_TICKETS: dict[str, tuple[dict[str, Any], ...]] = {
    "shop": (
        {"title": "Check out without an account", "priority": "high", "tags": ["feature"]},
        {"title": "Round prices to the cent", "tags": ["bug", "payments"]},
        {"title": "Import the catalogue each night", "status": "inbox", "tags": ["infra"]},
    ),
    "handbook": (
        {"title": "Explain how a release is made", "tags": ["docs"]},
        {"title": "Translate the first chapter", "status": "inbox", "tags": ["docs"]},
    ),
}
"""Tickets of further projects, which a person works."""
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
        _add_other_projects(instance)
        for name, path in PAGES.items():
            for theme, page in pages.items():
                page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
                _take_picture(page, path, FOLDER / f"{name}-{theme}.png")
        browser.close()


def _open_page(browser: Browser, instance: Installation, theme: str) -> Page:
    context = browser.new_context(base_url=build_browser_url(instance.settings), color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/login")
    page.fill("[name=token]", instance.token)
    page.click("button")
    return page


def _add_other_projects(instance: Installation) -> None:
    folders = {slug: _make_repository(instance.settings.home / slug) for slug in OTHER_TICKETS}
    with writing(instance.engine) as session:
        agents.add_agent(session, agents.NewAgent(name=PERSON, kind=AgentKind.HUMAN), BENCH_ACTOR)
        for slug, tickets in OTHER_TICKETS.items():
            folder = str(folders[slug])
            projects.add_project(
                session, projects.NewProject(slug=slug, name=slug.capitalize(), folder=folder), BENCH_ACTOR
            )
            for ticket in tickets:
                body = NewTicket.model_validate({"assigned_to": PERSON, "project": slug} | ticket)
                transitions.create_ticket(session, body, BENCH_ACTOR)


def _make_repository(folder: Path) -> Path:
    git.check_output(folder.parent, "init", "--quiet", "--initial-branch=main", folder.name)
    git.check_output(folder, *AUTHOR, "commit", "--quiet", "--allow-empty", "--message=Begin.")
    return folder


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
