"""Approving in a browser: the button does what it says, and the page follows until the work has landed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import auth
from jobs import job_context, landing
from tests.workers.repositories import git

from .conftest import BoardSite, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser


def land(site: BoardSite) -> None:
    instance: auth.Instance = site.app.extensions["mission_control"]
    assert landing.make_pass(job_context.build_context(instance.settings, instance.engine)).summary == {"landed": 1}


def test_approving_from_the_changes_merges_and_the_page_follows(site: BoardSite, page: Page, tmp_path: Path) -> None:
    ticket = site.hand_in(tmp_path / "shop")
    page.goto(f"/ticket/{ticket}?tab=changes")
    page.locator(".decision").get_by_role("button", name="Approve and merge").click()

    head = page.locator("#ticket-head")
    expect(head).to_contain_text("Approved by browser; merging into main.")
    expect(page.get_by_role("button", name=re.compile("^Approve"))).to_have_count(0)
    land(site)

    expect(head.locator(".state")).to_have_text("Done")
    merged = git(tmp_path / "shop", "rev-parse", "main")
    expect(head).to_contain_text(f"{ticket} merged into main as {merged[:10]}.")
    expect(page.locator("#entries")).to_contain_text(f"Merged into main as {merged[:10]}.")
    assert git(tmp_path / "shop", "log", "-1", "--format=%s") == f"Merge {ticket}: Greet better"
    assert (tmp_path / "shop/greet.txt").read_text() == "echo Hi\n"


def test_what_is_unmet_is_listed_and_one_reason_approves_it_anyway(site: BoardSite, page: Page, tmp_path: Path) -> None:
    ticket, other = site.hand_in(tmp_path / "shop"), site.hand_in(tmp_path / "blog")
    site.edit(ticket, acceptance=["It greets by name", "It says goodbye"])
    site.edit(other, acceptance=["It has a date"])
    go(page, "/board?view=columns")
    page.locator(f"#card-{ticket} summary").click()
    page.locator(f"#card-{ticket}").get_by_role("button", name="Approve and merge").click()
    dialog = page.locator("#move-dialog")
    expect(dialog.locator(".unmet li")).to_contain_text(["It greets by name", "It says goodbye"])
    page.keyboard.type("Agreed by phone.")
    page.keyboard.press("Escape")
    page.locator(f"#card-{other} summary").click()
    page.locator(f"#card-{other}").get_by_role("button", name="Approve and merge").click()
    expect(dialog.locator(".unmet li")).to_contain_text(["It has a date"])
    expect(dialog.get_by_label("Why approve it anyway?")).to_have_value("")
    page.keyboard.press("Escape")
    go(page, f"/ticket/{ticket}?tab=changes")
    page.locator("#ticket-head").get_by_role("link", name="2 acceptance items unmet").click()
    expect(dialog.get_by_label("Why approve it anyway?")).to_have_value("Agreed by phone.")
    dialog.get_by_role("button", name="Approve and merge anyway").click()
    head = page.locator("#ticket-head")
    expect(page.locator("#entries")).to_be_visible()
    expect(head).to_contain_text("Approved by browser; merging into main.")


@pytest.mark.parametrize("width", [1440, 360])
def test_another_way_is_chosen_from_the_menu_by_keyboard(site: BoardSite, tab: Tab, tmp_path: Path, width: int) -> None:
    ticket = site.hand_in(tmp_path / "shop", "leave")
    page = tab(viewport={"width": width, "height": 800})
    go(page, f"/ticket/{ticket}")
    head = page.locator("#ticket-head")
    expect(head.get_by_role("button", name="Approve (no merge)")).to_be_visible()
    head.locator(".split-button summary").focus()
    page.keyboard.press("Enter")
    items = head.locator(".split-button .items")
    box = items.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
    expect(items.get_by_role("button", name="Approve and merge")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(head).to_contain_text("squashing onto main")


def test_it_works_without_scripts(site: BoardSite, tab: Tab, tmp_path: Path) -> None:
    ticket = site.hand_in(tmp_path / "shop", "leave")
    page = tab(java_script_enabled=False)
    page.goto(f"/ticket/{ticket}")
    page.locator("#ticket-head .split-button summary").click()
    page.get_by_role("button", name="Approve and squash").click()
    expect(page.locator("#ticket-head")).to_contain_text("Approved by browser; squashing onto main.")
    land(site)
    page.reload()
    expect(page.locator("#ticket-head .state")).to_have_text("Done")
    assert git(tmp_path / "shop", "log", "-1", "--format=%s") == f"{ticket}: Greet better"
