"""A ticket is written in a dialog over the board, by keyboard alone if need be, and nothing that was typed is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from database import reading, writing
from models import Ticket, TicketStatus
from tests.workers.repositories import create_repository
from tickets.conversation import attachments
from tickets.lifecycle import schemas
from tickets.shared.lookup import get_ticket
from tickets.team import projects
from tickets.team.projects import NewProject
from tickets.workflow import relationships

from .conftest import OPERATOR, BoardSite, Tab
from .test_live_pages import go, wait_until_live

pytestmark = pytest.mark.browser


def open_dialog(page: Page, path: str = "/board?view=columns") -> None:
    go(page, path)
    page.keyboard.press("c")
    expect(page.locator("#ticket-dialog")).to_be_visible()
    expect(page.get_by_label("Title")).to_be_focused()


def load_ticket(site: BoardSite, identifier: str) -> dict[str, Any]:
    """What became of the form."""
    with reading(site.store) as session:
        ticket: Ticket = get_ticket(session, identifier)
        links = [(link.words, link.identifier) for link in relationships.list_relations(session, ticket.id)]
        files = [row.name for row in attachments.list_attachments(session, ticket.id)]
        return {**schemas.build_ticket_json(session, [ticket])[0], "links": links, "files": files}


def fold(page: Page, name: str) -> Locator:
    return page.locator("#ticket-form summary", has_text=name)


def show_all_fields(page: Page) -> None:
    fold(page, "More").focus()
    page.keyboard.press("Enter")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until this control of the form has the focus."""
    target = page.locator(f"#ticket-form {selector}").first
    for _ in range(80):
        if target.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never comes to {selector}")


def test_every_field_is_filled_in_by_keyboard_alone(site: BoardSite, page: Page) -> None:
    first, second = site.ticket(title="Paint the shed"), site.ticket(title="Buy the paint")
    open_dialog(page)
    page.keyboard.type("Write a letter")
    show_all_fields(page)
    tab_to(page, "[name=description]")
    page.keyboard.type("To **Ada**.")
    nobody = page.get_by_text("Nobody will start this")
    expect(nobody).to_be_visible()
    tab_to(page, "[name=assigned_to]")
    page.keyboard.type("Cod")
    expect(nobody).to_be_hidden()
    tab_to(page, "[name=priority]")
    page.keyboard.type("Urg")
    tab_to(page, "[name=status]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    tab_to(page, "[name=wake_kind]")
    page.keyboard.type("When another")
    tab_to(page, "[name=wake_ticket]")
    page.keyboard.type("shed")
    expect(page.get_by_role("option", name="Paint the shed")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("[name=wake_ticket]")).to_have_value(first)
    tab_to(page, "[value=bug]")
    page.keyboard.press("Space")
    for name in ("Acceptance", "Schedule", "Relationships"):
        fold(page, name).focus()
        page.keyboard.press("Enter")
    tab_to(page, "[name=acceptance]")
    page.keyboard.type("It is sent")
    tab_to(page, "[name=not_before]")
    page.keyboard.type("030429990900AM")
    tab_to(page, "[name=link_kind]")
    page.keyboard.type("Blocks")
    page.keyboard.press("Tab")
    page.keyboard.type("buy the")
    expect(page.get_by_role("option", name="Buy the paint")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("option", name="Buy the paint")).to_be_hidden()
    expect(page.locator("#ticket-dialog")).to_be_visible()
    page.keyboard.press("Control+A")
    page.keyboard.type(second)
    page.get_by_label("Title").focus()
    tab_to(page, "[name=description]")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".ticket h1")).to_contain_text("Write a letter")
    ticket = load_ticket(site, "MC-3")
    expected = {"status": "waiting", "assigned_to": "codex", "priority": "urgent", "tags": ["bug"]}
    assert {name: ticket[name] for name in expected} == expected
    assert ticket["wake"] == {"kind": "ticket", "ticket": first}
    assert ticket["acceptance"] == [{"text": "It is sent", "met": False}]
    assert ticket["links"] == [("blocks", second)]
    assert ticket["not_before"].startswith("2999-03-04T09:00")


def test_what_is_wrong_is_said_in_place_and_files_stay_chosen(site: BoardSite, page: Page, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Remember.")
    open_dialog(page)
    page.get_by_label("Title").fill("Write a letter")
    show_all_fields(page)
    fold(page, "Files").click()
    page.get_by_label("Files", exact=True).set_input_files(note)
    page.get_by_label("Later").check()
    page.get_by_label("Wakes", exact=True).select_option("ticket")
    page.locator("[name=wake_ticket]").fill("MC-99")
    page.get_by_role("button", name="Create and open").click()
    expect(page.get_by_text("There is no ticket MC-99.")).to_be_visible()
    expect(page.locator("[name=wake_ticket]")).to_be_focused()
    page.get_by_label("Wakes", exact=True).select_option("answer")
    page.get_by_role("button", name="Create and open").click()
    expect(page.locator(".ticket h1")).to_contain_text("Write a letter")
    assert load_ticket(site, "MC-1")["files"] == ["note.txt"]


def test_one_after_the_other_without_leaving(site: BoardSite, page: Page) -> None:
    site.ticket(assigned_to=None)
    open_dialog(page, "/board?view=columns&priority=high")
    page.locator("#new-assigned_to").select_option("operator")
    for number, title in ((2, "First"), (3, "Second")):
        page.get_by_label("Title").fill(title)
        page.get_by_role("button", name="Create another").click()
        expect(page.locator("[data-notes]")).to_have_text(f"MC-{number} was created.")
        expect(page.get_by_label("Title")).to_have_value("")
        expect(page.get_by_label("Title")).to_be_focused()
    expect(page.locator("#new-priority")).to_have_value("high")
    expect(page.locator("#new-assigned_to")).to_have_value("operator")
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("#ticket-dialog")).to_be_hidden()
    expect(page.locator("#column-todo .title")).to_have_text(["First", "Second"])


def test_a_draft_comes_back_whole_until_it_is_sent_or_discarded(site: BoardSite, page: Page) -> None:
    open_dialog(page)
    page.get_by_label("Title").fill("Half a thought")
    show_all_fields(page)
    page.get_by_label("Owner", exact=True).last.select_option("codex")
    page.get_by_label("After triage").check()
    page.keyboard.press("Escape")
    page.reload()
    page.keyboard.press("c")
    expect(page.get_by_label("Title")).to_have_value("Half a thought")
    expect(page.get_by_label("Owner", exact=True).last).to_have_value("codex")
    expect(page.get_by_label("After triage")).to_be_checked()
    page.get_by_role("button", name="Discard draft").click()
    expect(page.get_by_label("Title")).to_have_value("")
    page.reload()
    page.keyboard.press("c")
    expect(page.get_by_label("Title")).to_have_value("")
    expect(page.get_by_text("Draft restored.")).to_be_hidden()


def test_enter_creates_the_ticket_and_the_shortcut_works_in_every_field(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    page.keyboard.press("c")
    title = page.locator("#new-title")
    expect(title).to_be_focused()
    page.keyboard.type("First")
    show_all_fields(page)
    page.locator("#new-description").fill("To **Ada**.")
    page.locator("#ticket-dialog").get_by_role("button", name="Preview").click()
    expect(page.locator("#ticket-dialog .preview strong")).to_have_text("Ada")
    page.get_by_role("button", name="Create another").click()
    expect(page.locator("[data-notes]")).to_have_text("MC-2 was created.")
    expect(title).to_have_value("")
    page.keyboard.type("Second")
    page.keyboard.press("Enter")
    expect(page.locator(".ticket h1")).to_contain_text("Second")
    wait_until_live(page)
    page.keyboard.press("c")
    expect(page.locator("#new-title")).to_be_focused()
    page.keyboard.type("Third")
    show_all_fields(page)
    page.locator("#new-priority").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".ticket h1")).to_contain_text("Third")


def test_the_description_is_previewed_and_rows_are_added_without_losing_a_word(site: BoardSite, page: Page) -> None:
    open_dialog(page)
    page.get_by_label("Title").fill("Write a letter")
    show_all_fields(page)
    page.get_by_label("Description").fill("To **Ada**, <b>now</b>.")
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("region", name="Preview of the description")
    expect(preview.locator("strong")).to_have_text("Ada")
    expect(preview).to_contain_text("<b>now</b>")
    fold(page, "Relationships").click()
    page.locator("[name=link_ticket]").fill("MC-1")
    page.get_by_role("button", name="Add relationship").click()
    expect(page.locator("[name=link_ticket]")).to_have_count(2)
    expect(page.locator("[name=link_ticket]").first).to_have_value("MC-1")
    expect(page.get_by_label("Title")).to_have_value("Write a letter")


def test_one_line_creates_a_ticket_with_its_fields_by_four_keys(site: BoardSite, page: Page, tmp_path: Path) -> None:
    """The chips show what the line sets, and one that a person removes leaves its words in the title."""
    folder = create_repository(tmp_path / "web", greet="echo Hello\n")
    with writing(site.store) as session:
        for slug, template in (("web", "## Steps"), ("api", "## Request")):
            body = NewProject(slug=slug, name=slug, folder=str(folder), ticket_template=template)
            projects.add_project(session, body, OPERATOR)
    open_dialog(page)
    expect(page.get_by_label("Description")).to_be_hidden()
    page.keyboard.type("Fix #bug #odd CSV export @codex !high +web tomorrow")
    chips = page.locator("[data-chips] .chip:not(.quiet)")
    expect(chips).to_contain_text(["bug", "codex", "high", "web", "Starts", "“#odd” is no tag"])
    page.get_by_role("button", name="Keep “tomorrow” as text").click()
    expect(chips).to_contain_text(["bug", "codex", "high", "web", "“#odd” is no tag"])
    expect(page.get_by_label("Title")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".ticket h1")).to_contain_text("Fix #odd CSV export tomorrow")
    expected = {"status": "todo", "assigned_to": "codex", "priority": "high", "tags": ["bug"], "not_before": None}
    expected |= {"project": "web", "description": "## Steps"}
    ticket = load_ticket(site, "MC-1")
    assert {name: ticket[name] for name in expected} == expected


def test_a_phone_gets_the_page(site: BoardSite, tab: Tab) -> None:
    site.ticket()
    page = tab(viewport={"width": 360, "height": 800}, has_touch=True)
    go(page, "/board?view=columns")
    page.get_by_role("link", name="New ticket").click()
    expect(page.get_by_role("heading", name="New ticket")).to_be_visible()
    assert "/ticket/new" in page.url
    expect(page.locator("#connection")).to_have_attribute("data-link", "live")
    page.get_by_label("Title").fill("On the way")
    page.get_by_role("button", name="Create another").click()
    expect(page.locator("[data-notes]")).to_have_text("MC-2 was created.")


def test_without_scripts_every_field_is_there(site: BoardSite, tab: Tab, tmp_path: Path) -> None:
    first, note = site.ticket(), tmp_path / "note.txt"
    note.write_text("Remember.")
    page = tab(java_script_enabled=False)
    page.goto("/ticket/new")
    page.get_by_label("Title").fill("Written plainly")
    fold(page, "More").click()
    page.get_by_label("Description").fill("To **Ada**.")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".preview strong")).to_have_text("Ada")
    page.get_by_label("Later").check()
    page.get_by_label("Wakes", exact=True).select_option("time")
    page.get_by_role("button", name="Create and open").click()
    expect(page.get_by_text("Choose when it should wake.")).to_be_visible()
    page.get_by_label("At", exact=True).fill("2999-03-04T09:00")
    fold(page, "Relationships").click()
    page.locator("[name=link_ticket]").fill(first.lower())
    fold(page, "Files").click()
    page.get_by_label("Files", exact=True).set_input_files(note)
    page.get_by_role("button", name="Create and open").click()
    expect(page.locator("h1")).to_contain_text("Written plainly")
    ticket = load_ticket(site, "MC-2")
    assert ticket["status"] == TicketStatus.WAITING and ticket["files"] == ["note.txt"]
    assert ticket["links"] == [("blocked by", first)]
