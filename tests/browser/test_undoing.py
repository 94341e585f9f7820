"""What was moved by mistake is taken back with one press."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .conftest import BoardSite, OpenContext

pytestmark = pytest.mark.browser


def test_a_move_on_the_board_is_taken_back_in_place(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    page.goto("/board?view=columns")
    expect(page.locator("#connection")).to_have_attribute("data-link", "live")
    page.get_by_label(f"Actions for {ticket}").click()
    page.locator(f"#card-{ticket}").get_by_role("button", name="Triage").click()
    expect(page.locator(f"#column-todo #card-{ticket}")).to_be_visible()
    expect(page.locator(".flashes .floating")).to_contain_text(f"{ticket} moved to To do.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f"#column-inbox #card-{ticket}")).to_be_visible()
    expect(page.locator(".flashes .floating")).to_have_count(0)


def test_the_offer_goes_when_its_time_is_over(site: BoardSite, open_context: OpenContext) -> None:
    page = open_context().new_page()
    ticket = site.ticket(status="inbox", assigned_to=None)
    page.clock.install()
    page.goto(f"/ticket/{ticket}")
    page.get_by_role("button", name="Triage").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.clock.run_for(10_500)
    expect(page.locator(".flashes .floating")).to_have_count(0)
