"""Somebody who has read nothing: from an empty board to approved work, with everything behind it as it is deployed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from settings import load
from tests.test_serve import Serve, first_line
from tests.test_serve import environment as environment
from tests.test_serve import serve as serve
from tests.workers.repositories import create_repository, git
from workers.host.tmux import Tmux

from .conftest import record_errors

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE = 180_000
"""Milliseconds that work may take: it is timers that start it."""
WANTED = """The shop greets nobody.

```sh
if [ -f greeting.txt ]
then sed -i 's/Hello/Good day/; s/Bye/Farewell/' greeting.txt
else printf 'Hello\\nStay a while\\nBye\\n' >greeting.txt
fi
echo "REVIEW: It greets."
```
"""


@pytest.fixture
def newcomer(chromium: Browser, serve: Serve, environment: dict[str, str]) -> Iterator[Page]:
    """A tab that has followed the link which the command printed."""
    link = re.search(r"http://\S+", first_line(serve()))
    assert link is not None
    errors: list[str] = []
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    record_errors(context, errors)
    page = context.new_page()
    page.goto(link[0])
    page.get_by_role("button", name="Log in this browser").click()
    yield page
    context.close()
    settings = load(environment)
    tmux = Tmux(f"mc-{settings.instance}", settings.sockets_dir)
    subprocess.run(tmux.argv("kill-server"), env=tmux.environment, capture_output=True, timeout=10)
    assert errors == []


def test_a_newcomer_sees_work_done_sent_back_and_approved(newcomer: Page, tmp_path: Path) -> None:
    shop = create_repository(tmp_path / "shop", readme="A shop.\n")
    add_project(newcomer, shop)
    write_ticket(newcomer)
    state = newcomer.locator("#ticket-head .state")
    expect(state).to_have_text("In review", timeout=PATIENCE)
    expect(newcomer.locator("#entries")).to_contain_text("It greets.")

    ask_for_changes(newcomer)
    expect(newcomer.locator("#entries")).to_contain_text("Comment 1 on greeting.txt:1: Too familiar.")
    expect(state).not_to_have_text("In review", timeout=PATIENCE)
    expect(state).to_have_text("In review", timeout=PATIENCE)

    newcomer.get_by_role("link", name="Changes", exact=True).click()
    expect(newcomer.locator("[data-file='greeting.txt']")).to_contain_text("Good day")
    newcomer.locator(".decision").get_by_role("button", name="Approve and merge").click()
    expect(state).to_have_text("Done", timeout=PATIENCE)
    assert (shop / "greeting.txt").read_text() == "Good day\nStay a while\nFarewell\n"
    assert git(shop, "log", "-1", "--format=%s") == "Merge MC-1: Greet who comes in"


def add_project(page: Page, folder: Path) -> None:
    page.get_by_role("link", name="Board").first.click()
    expect(page.get_by_role("heading", name="Nothing is on the board yet")).to_be_visible()
    page.get_by_role("link", name="Add a project from a folder").click()
    page.get_by_label("Folder or URL").fill(str(folder))
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_label("Base branch", exact=True)).to_have_value("main", timeout=PATIENCE)
    page.get_by_role("radio", name=re.compile("^Merge")).check()
    page.get_by_label("Check command").fill("test -s greeting.txt")
    page.get_by_role("button", name="Add project").click()
    expect(page.get_by_text("Project shop was added")).to_be_visible()


def write_ticket(page: Page) -> None:
    page.get_by_role("link", name="Board").first.click()
    page.get_by_role("link", name="Write the first ticket").click()
    page.get_by_label("Title").fill("Greet who comes in")
    page.locator("#ticket-form summary", has_text="More").click()
    page.get_by_role("textbox", name=re.compile("^Description")).fill(WANTED)
    expect(page.get_by_label("Project", exact=True)).to_have_value("shop")
    page.get_by_label("Owner", exact=True).select_option("script")
    page.get_by_role("button", name="Create and open").click()


def ask_for_changes(page: Page) -> None:
    page.get_by_role("link", name="Changes", exact=True).click()
    for line, words in ((1, "Too familiar."), (3, "Too short.")):
        page.get_by_role("button", name=f"Comment on line {line}", exact=True).click()
        page.keyboard.type(words)
    page.get_by_label("Summary for the agent").fill("More polite, please.")
    page.get_by_role("button", name="Request changes").last.click()
