"""Many tickets at once: they are selected, changed together, and what was refused is said."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from database import reading
from models import TicketStatus
from tickets.shared.lookup import get_ticket

from .conftest import BoardSite, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser


def status(site: BoardSite, ticket: str) -> TicketStatus:
    with reading(site.store) as session:
        return get_ticket(session, ticket).status


def box(page: Page, ticket: str) -> None:
    page.locator(f"#card-{ticket} [data-select]").click()


def test_a_range_is_selected_and_the_bar_offers_what_all_of_it_can_do(site: BoardSite, page: Page) -> None:
    tickets = [site.ticket(status="inbox", assigned_to=None) for _ in range(4)]
    first_ticket = site.ticket(assigned_to=None)
    go(page, "/board?view=columns")
    box(page, tickets[3])
    page.locator(f"#card-{tickets[1]} [data-select]").click(modifiers=["Shift"])
    expect(page.locator("[data-bulk-count]")).to_have_text("3 selected")
    expect(page.locator(f"#card-{tickets[0]} [data-select]")).not_to_be_checked()
    page.get_by_text("Move", exact=True).click()
    expect(page.locator("[data-bulk-move]:visible")).to_have_text(["Triage", "Park", "Close", "Cancel"])
    page.keyboard.press("Escape")
    page.locator(f"#card-{first_ticket} .title").focus()
    page.keyboard.press("x")
    expect(page.locator("[data-bulk-count]")).to_have_text("4 selected")
    assert page.locator("[data-bulk-move]:not([hidden])").all_text_contents() == ["Park", "Close", "Cancel"]
    page.keyboard.press("Escape")
    expect(page.locator("#bulk")).to_be_hidden()
    page.get_by_label("Select all of Inbox that are shown").check()
    expect(page.locator("[data-bulk-count]")).to_have_text("4 selected")


def test_many_are_moved_at_once_and_taken_back_at_once(site: BoardSite, page: Page) -> None:
    tickets = [site.ticket(status="inbox", assigned_to=None) for _ in range(3)]
    go(page, "/board?view=columns&priority=normal")
    page.get_by_label("Select all of Inbox that are shown").check()
    page.get_by_text("Move", exact=True).click()
    page.locator("[data-bulk-move][value=triage]").click()
    expect(page.locator(".flashes .floating")).to_contain_text("Triage: 3 tickets moved.")
    expect(page.locator("#column-todo [data-card]")).to_have_count(3)
    expect(page.locator("#bulk")).to_be_hidden()
    assert page.url.endswith("/board?view=columns&priority=normal")
    page.get_by_role("button", name="Undo 3").click()
    expect(page.locator("#column-inbox [data-card]")).to_have_count(3)
    assert {status(site, ticket) for ticket in tickets} == {TicketStatus.INBOX}


def test_a_move_that_must_be_told_something_asks_once_for_all(site: BoardSite, page: Page) -> None:
    tickets = [site.ticket(assigned_to=None) for _ in range(2)]
    go(page, "/board?view=lanes")
    go(page, "/board?view=list")
    page.get_by_label("Select all of the tickets that are shown").check()
    page.get_by_text("Move", exact=True).click()
    page.locator("[data-bulk-move][value=park]").click()
    expect(page.locator("#move-dialog")).to_contain_text(f"{tickets[1]}, {tickets[0]}")
    page.get_by_label("Wakes", exact=True).select_option("ticket")
    page.get_by_role("button", name="Park").click()
    expect(page.locator("#move-dialog [data-error]")).to_contain_text("Enter the ticket to wait for")
    page.get_by_label("Wakes", exact=True).select_option("time")
    page.get_by_label("At", exact=True).fill("2999-01-01T09:00")
    page.get_by_role("button", name="Park").click()
    expect(page.locator(".flashes .floating")).to_contain_text("Park: 2 tickets moved.")
    expect(page.locator(".tickets tbody .state")).to_have_text(["Waiting", "Waiting"])


def test_what_is_refused_is_named_with_its_reason_and_the_rest_is_done(site: BoardSite, page: Page) -> None:
    stays, moves = site.ticket(assigned_to=None), site.ticket(assigned_to=None)
    go(page, "/board?view=columns")
    page.get_by_label("Select all of To do that are shown").check()
    page.get_by_text("Move", exact=True).click()
    page.route("**/board/column/**", lambda route: route.abort())  # this page does not hear that one is gone
    site.move(stays, "cancel")
    page.locator("[data-bulk-move][value=cancel]").click()
    expect(page.locator(".flashes .floating")).to_contain_text("Cancel: 1 of 2 tickets moved.")
    expect(page.locator(".flashes .floating")).to_contain_text(f"Refused: {stays} (its state is Cancelled).")
    assert status(site, moves) is TicketStatus.CANCELLED
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".flashes .floating")).to_have_count(0)


def test_owner_priority_and_tags_are_edited_together(site: BoardSite, page: Page) -> None:
    for _ in range(2):
        site.ticket(status="inbox", tags=["infra"], assigned_to=None)
    go(page, "/board?view=columns")
    for menu, name, value in (
        ("Owner", "assigned_to", "codex"),
        ("Priority", "priority", "urgent"),
        ("Tags", "tag", "bug"),
        ("Tags", "untag", "infra"),
    ):
        page.get_by_label("Select all of Inbox that are shown").check()
        page.locator("#bulk").get_by_text(menu, exact=True).click()
        page.locator(f"#bulk [name={name}][value={value}]").click()
        expect(page.locator("#bulk")).to_be_hidden()
    expect(page.locator("#column-inbox .actor")).to_have_text(["codex", "codex"])
    expect(page.locator("#column-inbox .tags")).to_have_text(["bug", "bug"])
    expect(page.locator("#column-inbox [title='Urgent priority']")).to_have_count(2)


def test_without_scripts_it_is_asked_first_and_then_done(site: BoardSite, tab: Tab) -> None:
    tickets = [site.ticket(status="inbox", assigned_to=None) for _ in range(2)]
    page = tab(java_script_enabled=False)
    page.goto("/board?view=columns&priority=normal")
    for ticket in tickets:
        page.get_by_label(f"Select {ticket}").check()
    page.locator("#bulk").get_by_text("Move", exact=True).click()
    page.locator("#bulk").get_by_role("button", name="Triage").click()
    assert "csrf" not in page.url
    page.get_by_role("button", name="Triage").click()
    expect(page.locator(".flashes .floating")).to_contain_text("Triage: 2 tickets moved.")
    assert page.url.endswith("/board?priority=normal&view=columns")
    page.get_by_role("button", name="Undo 2").click()
    assert {status(site, ticket) for ticket in tickets} == {TicketStatus.INBOX}
