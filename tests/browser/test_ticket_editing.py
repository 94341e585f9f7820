"""A ticket is edited where it stands: by mouse, by keyboard and by two people at once, and no words get lost."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from database import writing
from tests.waiting import wait_until
from tickets.shared.actors import Actor
from tickets.team import projects

from .conftest import BoardSite, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser

LONG = "# What\n\nIt **greets**."


def opened_field(page: Page, name: str) -> Locator:
    """The form of a field, opened by its button."""
    page.locator(f"#edit-{name}-fact > summary").click()
    return page.locator(f"#edit-{name}-form")


def save(form: Locator, expected: Locator, text: str) -> None:
    form.get_by_role("button", name="Save").click()
    expect(expected).to_contain_text(text)
    expect(form).not_to_be_visible()


def test_every_field_is_edited_in_place(site: BoardSite, page: Page) -> None:
    with writing(site.store) as session:
        projects.add_project(session, projects.NewProject(slug="site", name="Site", folder="/srv/site"), Actor.human())
    ticket = site.ticket(tags=["bug"])
    go(page, f"/ticket/{ticket}")
    choices = {
        "priority": "urgent",
        "project": "site",
        "gate": "checks",
        "assigned_to": "codex",
        "campaign_owner": "operator",
    }
    for name, value in choices.items():
        form = opened_field(page, name)
        form.locator("select").select_option(value)
        label = form.locator("option:checked").text_content() or ""
        save(
            form,
            page.locator(f"#edit-{name}-fact > summary"),
            value if name in ("assigned_to", "project", "campaign_owner") else label,
        )
    for name in ("not_before", "expected_check_in"):
        form = opened_field(page, name)
        form.locator("input[type=datetime-local]").fill("2035-06-01T09:00")
        save(form, page.locator(f"#edit-{name}-fact > summary"), "in ")
    form = opened_field(page, "tags")
    form.get_by_label("Infra").check()
    save(form, page.locator(".side .badge", has_text="infra"), "infra")
    form = opened_field(page, "title")
    form.locator("input[name=title]").fill("Write two lines")
    save(form, page.locator("h1"), "Write two lines")
    form = opened_field(page, "description")
    form.locator("textarea").fill(LONG)
    save(form, page.locator("#ticket-description .prose h1"), "What")
    page.get_by_text("Advanced").click()
    page.get_by_role("button", name="Archive").click()
    expect(page.locator("#ticket-head .badge")).to_have_text("Archived")
    page.get_by_role("button", name="Restore").click()
    expect(page.locator("#ticket-head .badge")).to_have_count(0)
    stored = site.load_ticket(ticket)
    assert {name: stored[name] for name in choices} == choices
    assert (stored["description"], stored["tags"], stored["archived"]) == (LONG, ["bug", "infra"], False)
    assert stored["not_before"] == stored["expected_check_in"] == "2035-06-01T09:00:00.000000Z"


def test_two_people_edit_one_ticket_and_neither_loses_words(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(description="As it was")
    alice, bob = tab(), tab()
    bob.context.add_cookies([site.person("bob")])
    for page in (alice, bob):
        go(page, f"/ticket/{ticket}")
        opened_field(page, "description")
    alice.locator("#edit-description").fill("As alice wants it")
    bob.locator("#edit-description").fill("As bob wants it")
    bob.locator("#edit-description-form").get_by_role("button", name="Save").click()
    expect(bob.locator("#ticket-description .prose")).to_have_text("As bob wants it")
    expect(alice.locator("#edit-description")).to_have_value("As alice wants it")
    opened_field(alice, "title").locator("input[name=title]").fill("Nobody else is at this")
    alice.keyboard.press("Enter")
    expect(bob.locator("h1")).to_contain_text("Nobody else is at this")
    alice.locator("#edit-description-form").get_by_role("button", name="Save").click()
    form = alice.locator("#edit-description-form")
    expect(form.get_by_role("alert")).to_contain_text("bob changed the description while you were editing")
    expect(form.locator(".current-value")).to_contain_text("As bob wants it")
    expect(alice.locator("#edit-description")).to_have_value("As alice wants it")
    assert site.load_ticket(ticket)["description"] == "As bob wants it"
    alice.locator("#edit-description").fill("As both want it")
    form.get_by_role("button", name="Save my version").click()
    expect(bob.locator("#ticket-description .prose")).to_have_text("As both want it")


def test_the_keyboard_alone_edits_and_comes_back_to_where_it_was(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    page.keyboard.press("e")
    expect(page.locator("#edit-title")).to_be_focused()
    page.keyboard.type("Typed over")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Typed over")
    expect(page.locator("#edit-title-fact > summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#edit-title")).to_be_focused()
    page.keyboard.type("Never sent")
    page.keyboard.press("Escape")
    expect(page.locator("#edit-title-fact > summary")).to_be_focused()
    expect(page.locator("h1")).to_contain_text("Typed over")
    page.locator("#edit-priority-fact > summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#edit-priority")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#edit-priority-fact > summary")).to_contain_text("High")
    expect(page.locator("#edit-priority-fact > summary")).to_be_focused()
    assert (site.load_ticket(ticket)["title"], site.load_ticket(ticket)["priority"]) == ("Typed over", "high")


def test_news_neither_closes_nor_resets_a_form_in_use(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(priority="low", description="As it was")
    go(page, f"/ticket/{ticket}")
    opened_field(page, "title").locator("input[name=title]").fill("Mine")
    opened_field(page, "priority").locator("select").select_option("urgent")
    opened_field(page, "tags").get_by_label("Bug").check()
    opened_field(page, "description").locator("textarea").fill("half a thought")
    page.locator("#edit-description").evaluate("area => area.setSelectionRange(4, 4)")
    site.edit(ticket, title="Another", assigned_to="codex", priority="high", tags=["infra"], description="Elsewhere")
    expect(page.locator("#ticket-head .strip")).to_contain_text("codex")
    expect(page.locator("#edit-assigned_to-fact > summary")).to_contain_text("codex")
    expect(page.locator("#ticket-description .prose")).to_have_text("Elsewhere")
    expect(page.locator("input[name=title]")).to_have_value("Mine")
    expect(page.locator("#edit-priority")).to_have_value("urgent")
    expect(page.locator("#edit-tags-form").get_by_label("Bug")).to_be_checked()
    expect(page.locator("#edit-description")).to_be_focused()
    expect(page.locator("#edit-description")).to_have_value("half a thought")
    assert page.locator("#edit-description").evaluate("area => area.selectionStart") == 4
    page.locator("#edit-priority-form").get_by_role("button", name="Save").click()
    expect(page.locator("#edit-priority-form").get_by_role("alert")).to_contain_text("bob changed the priority")


def test_a_description_is_previewed_and_its_draft_outlives_leaving_and_a_reload(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(description="As it was")
    go(page, f"/ticket/{ticket}")
    form = opened_field(page, "description")
    form.locator("textarea").fill("It is **bold**")
    form.get_by_role("button", name="Preview").click()
    expect(form.locator("[data-preview] strong")).to_have_text("bold")
    page.keyboard.press("Escape")
    expect(form).not_to_be_visible()
    opened_field(page, "description")
    expect(page.locator("#edit-description")).to_have_value("It is **bold**")
    page.reload()
    opened_field(page, "description")
    expect(page.locator("[data-restored]")).to_contain_text("Draft restored.")
    site.edit(ticket, description="Meanwhile")
    page.reload()
    opened_field(page, "description")
    expect(page.locator("#edit-description")).to_have_value("It is **bold**")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_contain_text("bob changed the description")
    page.reload()
    opened_field(page, "description")
    page.get_by_role("button", name="Discard draft").click()
    opened_field(page, "description")
    expect(page.locator("#edit-description")).to_have_value("Meanwhile")


def test_acceptance_items_are_added_ticked_and_changed_and_others_see_it(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(acceptance=[{"text": "It greets"}])
    page, other = tab(), tab()
    for editor_page in (page, other):
        go(editor_page, f"/ticket/{ticket}?tab=evidence")
    page.get_by_label("New item").fill("It is tested")
    page.keyboard.press("Enter")
    expect(other.locator(".criteria > li")).to_have_count(2)
    expect(page.get_by_label("New item")).to_have_value("")
    page.get_by_role("checkbox", name="It is tested").check()
    expect(other.get_by_role("checkbox", name="It is tested")).to_be_checked()
    expect(page.locator("#acceptance-title")).to_contain_text("1 of 2 met")
    other.get_by_label("Edit “It is tested”").click()
    field = other.locator(".criteria [name=text]").last
    field.fill("It is tested twice")
    page.get_by_label("Edit “It greets”").click()
    page.get_by_role("button", name="Remove").first.click()
    expect(page.locator(".criteria > li")).to_have_count(1)
    wait_until(lambda: len(site.load_ticket(ticket)["acceptance"]) == 1, description="the removal")
    expect(field).to_have_value("It is tested twice")
    other.keyboard.press("Enter")
    expect(page.locator(".criteria")).to_contain_text("It is tested twice")
    assert site.load_ticket(ticket)["acceptance"] == [{"text": "It is tested twice", "met": True}]


def test_an_item_in_use_stays_when_somebody_removes_it(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(acceptance=[{"text": "It greets"}, {"text": "It sings"}])
    go(page, f"/ticket/{ticket}?tab=evidence")
    page.get_by_label("Edit “It greets”").click()
    page.locator(".criteria [name=text]").first.fill("It greets politely")
    site.edit(ticket, acceptance=[{"text": "It sings"}], title="News")
    expect(page.locator("h1")).to_contain_text("News")
    expect(page.locator(".side")).to_contain_text("0 of 1 met")
    page.keyboard.press("Enter")
    expect(page.locator(".criteria [data-error]").first).to_contain_text("“It greets” is no longer on the list")
    expect(page.locator(".criteria [name=text]").first).to_have_value("It greets politely")
    page.keyboard.press("Escape")
    expect(page.locator(".criteria > li")).to_have_count(1)


def test_a_ticket_is_found_by_its_words_related_and_taken_off_again(site: BoardSite, page: Page) -> None:
    ticket, other = site.ticket(), site.ticket(title="Translate the greeting")
    go(page, f"/ticket/{ticket}")
    page.get_by_label("Add a relationship").click()
    form = page.locator("#relate-form")
    form.locator("select").select_option("blocked_by")
    field = form.get_by_role("combobox", name="Ticket", exact=True)
    field.press_sequentially("greet")
    expect(form.locator(".picker-options > [role=option]")).to_have_count(1)
    field.fill(other.lower())
    expect(form.locator(".picker-options")).not_to_be_visible()
    field.fill("greeting")
    expect(form.locator(".picker-options > [role=option]")).to_have_text([f"{other} Translate the greeting to do"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(form.locator("[name=ticket]")).to_have_value(other)
    page.keyboard.press("Enter")
    link = page.locator(".links > li")
    expect(link).to_contain_text("Blocked by")
    expect(link.locator(".state")).to_have_text("To do")
    page.get_by_label("Add a relationship").click()
    form.locator("select").select_option("blocks")
    form.locator("[name=ticket]").fill(other)
    form.get_by_role("button", name="Relate").click()
    expect(form.get_by_role("alert")).to_contain_text("a cycle of “blocks”")
    expect(form.locator("[name=ticket]")).to_have_value(other)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.get_by_label(f"Remove: blocked by {other}").click()
    expect(link).to_have_count(0)


def test_the_state_of_a_related_ticket_is_kept_fresh(site: BoardSite, tab: Tab) -> None:
    ticket, other = site.ticket(), site.ticket(assigned_to=None)
    page, elsewhere = tab(), tab()
    go(page, f"/ticket/{ticket}")
    page.get_by_label("Add a relationship").click()
    page.locator("#relate-ticket").fill(other)
    page.get_by_role("button", name="Relate").click()
    expect(page.locator(".links .state")).to_have_text("To do")
    go(elsewhere, f"/ticket/{other}")
    expect(elsewhere.locator(".links")).to_contain_text(ticket)
    elsewhere.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".links .state")).to_have_text("In progress")


def test_context_is_linked_and_what_the_agent_is_told_of_it_is_shown(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}?tab=context")
    expect(page.locator(".empty-state")).to_contain_text("No context yet")
    page.get_by_text("Add a link").click()
    page.get_by_label("Kind").select_option("url")
    page.get_by_label("Path or URL").fill("ftp://old.invalid")
    page.get_by_label("Note").fill("Only the first part")
    page.get_by_role("button", name="Add link").click()
    expect(page.locator("#context-form").get_by_role("alert")).to_contain_text("must begin with http")
    page.get_by_label("Path or URL").fill("https://docs.invalid/greeting")
    page.get_by_role("button", name="Add link").click()
    link = page.get_by_role("link", name="https://docs.invalid/greeting")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(page.locator("pre")).to_have_text("- url: https://docs.invalid/greeting Only the first part")
    page.get_by_label("Remove https://docs.invalid/greeting").click()
    expect(page.locator(".empty-state")).to_contain_text("No context yet")


def test_without_scripts_every_form_does_the_same(site: BoardSite, tab: Tab) -> None:
    ticket, other = site.ticket(acceptance=[{"text": "It greets"}]), site.ticket()
    page = tab(java_script_enabled=False, viewport={"width": 1440, "height": 2000})
    page.goto(f"/ticket/{ticket}")
    opened_field(page, "priority").locator("select").select_option("high")
    page.locator("#edit-priority-form").get_by_role("button", name="Save").click()
    expect(page.locator("#edit-priority-fact > summary")).to_contain_text("High")
    opened_field(page, "description").locator("textarea").fill("**Plain**")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview] strong")).to_have_text("Plain")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#ticket-description .prose strong")).to_have_text("Plain")
    page.get_by_label("Add a relationship").click()
    page.locator("#relate-ticket").fill(other.lower())
    page.get_by_role("button", name="Relate").click()
    expect(page.locator(".links")).to_contain_text(other)
    page.locator("input[type=file]").set_input_files({"name": "a.txt", "mimeType": "", "buffer": b"A line"})
    page.get_by_role("button", name="Attach", exact=True).click()
    expect(page.locator(".file-rows")).to_contain_text("a.txt")
    page.goto(f"/ticket/{ticket}?tab=evidence")
    page.get_by_role("checkbox", name="It greets").check()
    page.get_by_role("button", name="Save checklist").click()
    expect(page.locator("#acceptance-title")).to_contain_text("1 of 1 met")


def test_on_a_phone_the_details_fold_to_one_line_that_stays_true(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(priority="low")
    phone: dict[str, Any] = {"viewport": {"width": 360, "height": 800}, "has_touch": True}
    page = tab(**phone)
    go(page, f"/ticket/{ticket}")
    line = page.locator(".side-summary")
    expect(line).to_have_text("Details — To do · Low · script")
    expect(page.locator("#edit-priority-fact")).not_to_be_visible()
    line.tap()
    form = opened_field(page, "priority")
    form.locator("select").select_option("high")
    save(form, page.locator("#edit-priority-fact > summary"), "High")
    expect(line).to_have_text("Details — To do · High · script")
    for name in ("title", "tags", "description", "not_before"):
        opened_field(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
