"""The board while things happen: news takes neither the place, nor the focus, nor what somebody is doing there."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from database import writing
from models import Ticket, TicketStatus, now
from tests.waiting import wait_until
from tickets.lifecycle import transitions
from tickets.shared.inputs import NewTicket
from tickets.team import projects
from tickets.team.projects import NewProject

from .conftest import OPERATOR, BoardSite, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser


def test_news_among_three_hundred_cards_takes_neither_place_nor_focus(site: BoardSite, page: Page) -> None:
    body = NewTicket(title="Write a line")
    with writing(site.store) as session:
        for _ in range(300):
            transitions.create_ticket(session, body, OPERATOR)
    go(page, "/board?view=columns")
    column, cards = page.locator("#column-todo"), page.locator("#cards-todo [data-card]")
    expect(cards).to_have_count(9)
    page.locator("#cards-todo").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    expect(cards).to_have_count(39)
    for loaded in (*range(69, 300, 30), 300):
        column.get_by_role("link", name="Load more").click()
        expect(cards).to_have_count(loaded)
    page.locator("#card-MC-120 .title").focus()
    page.locator("#card-MC-120").scroll_into_view_if_needed()
    page.locator("#card-MC-130 [data-select]").click()
    page.locator("#card-MC-120 .title").focus()
    before = height(page, "#card-MC-120")

    late = site.ticket(assigned_to=None)
    site.move("MC-200", "cancel")

    expect(page.locator(f"#card-{late}")).to_be_attached(timeout=30_000)
    expect(page.locator("#column-cancelled #card-MC-200")).to_be_attached(timeout=30_000)
    expect(cards).to_have_count(300)
    expect(page.locator("#card-MC-120 .title")).to_be_focused()
    expect(page.locator("#card-MC-130 [data-select]")).to_be_checked()
    expect(page.locator("[data-bulk-count]")).to_have_text("1 selected")
    wait_until(lambda: abs(height(page, "#card-MC-120") - before) < 2, description="the card where it was")


def height(page: Page, selector: str) -> float:
    """How far down the window something stands."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["y"]


def test_an_open_menu_stays_open_and_news_comes_when_it_is_closed(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    go(page, "/board?view=columns")
    page.get_by_label(f"Actions for {ticket}").click()
    late = site.ticket(status="inbox", assigned_to=None)
    with page.expect_response("**/board/column/inbox**"):
        page.get_by_role("button", name="Triage").hover()
        expect(page.locator(f"#card-{ticket} details")).to_have_attribute("open", "")
        page.keyboard.press("Escape")
    expect(page.locator(f"#card-{late}")).to_be_visible()


def test_what_is_being_written_in_a_column_stays_when_the_column_is_read_again(site: BoardSite, page: Page) -> None:
    site.ticket(status="inbox", assigned_to=None)
    go(page, "/board?view=columns")
    page.get_by_label("Add a ticket to Inbox").fill("Half a th")
    late = site.ticket(status="inbox", assigned_to=None)
    expect(page.locator(f"#card-{late}")).to_be_visible()
    page.keyboard.type("ought")
    expect(page.get_by_label("Add a ticket to Inbox")).to_have_value("Half a thought")


def test_tickets_are_added_one_after_the_other_by_enter_alone(site: BoardSite, page: Page) -> None:
    site.ticket(status="inbox", assigned_to=None)
    go(page, "/board?view=columns&priority=high")
    page.get_by_label("Add a ticket to Inbox").focus()
    for title in ("First", "Second"):
        page.keyboard.type(title)
        page.keyboard.press("Enter")
        expect(page.locator("#column-inbox .card .title").first).to_have_text(title)
        expect(page.get_by_label("Add a ticket to Inbox")).to_have_value("")
    expect(page.get_by_label("Add a ticket to Inbox")).to_be_focused()
    expect(page.locator(".flashes .notice")).to_have_count(0)
    page.route("**/board/quick", lambda route: route.abort())
    page.keyboard.type("Third")
    page.keyboard.press("Enter")
    expect(page.locator("#column-inbox [data-error]")).to_contain_text("is unreachable")
    expect(page.get_by_label("Add a ticket to Inbox")).to_have_value("Third")


def test_a_ticket_changes_its_lane_by_itself(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    go(page, "/board?view=lanes")
    expect(page.locator(f"#lane-working #card-{ticket} [data-live-line]")).to_be_visible()
    site.tell(run, "agent.tool_call", call="k1", name="Bash", input={}, title="make test")
    expect(page.locator(f"#card-{ticket} [data-live-line]")).to_contain_text("make test")
    site.tell(run, "agent.approval", request="r1", tool="Bash", input={"command": "rm"}, title="rm -r build")
    site.beat(run, "waiting")
    expect(page.locator(f"#lane-needs_you #card-{ticket} .status-reason")).to_contain_text(
        "Asks to use Bash: rm -r build"
    )
    site.move(ticket, "block", reason="needs_human", owner="bob", next_action="Read the rules")
    expect(page.locator(f"#lane-stuck #card-{ticket} .status-reason")).to_contain_text("Read the rules")


def test_the_list_is_kept_fresh_and_sorted(site: BoardSite, page: Page) -> None:
    low, urgent = site.ticket(priority="low", assigned_to=None), site.ticket(priority="urgent", assigned_to=None)
    go(page, "/board?view=list")
    page.get_by_role("link", name="Priority").click()
    expect(page.locator("th[aria-sort]")).to_contain_text("Priority")
    expect(page.locator(".tickets .title .mono")).to_have_text([urgent, low])
    site.move(low, "park", wake={"kind": "manual"})
    expect(page.locator(f"#card-{low} .state")).to_have_text("Waiting")
    expect(page.locator(f"#card-{low} .status-reason")).to_contain_text("Parked until someone wakes it")
    page.keyboard.press("j")
    expect(page.locator(f"#card-{urgent} .title")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator(f"#card-{low} .title")).to_be_focused()


def test_the_first_ticket_takes_the_place_of_the_first_steps(site: BoardSite, page: Page) -> None:
    go(page, "/board?view=columns")
    expect(page.get_by_role("heading", name="Nothing is on the board yet")).to_be_visible()
    ticket = site.ticket(assigned_to=None)
    expect(page.locator(f"#column-todo #card-{ticket}")).to_be_visible()


def test_the_board_works_without_scripts(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket(status="inbox", assigned_to=None)
    page = tab(java_script_enabled=False)
    page.goto("/board?view=columns")
    page.get_by_label("Add a ticket to Inbox").fill("Written plainly")
    page.keyboard.press("Enter")
    expect(page.locator("#column-inbox .card .title").first).to_have_text("Written plainly")
    page.get_by_role("link", name="Lanes").click()
    expect(page.locator("#lane-stuck")).to_contain_text("Nothing is stuck.")
    page.get_by_role("link", name="List", exact=True).click()
    expect(page.locator(f"#card-{ticket}")).to_be_visible()


def stage_states(site: BoardSite) -> None:
    """Create six tickets of each state that needs a person, in two projects, and one in To do."""
    with writing(site.store) as session:
        for slug in ("web", "api"):
            projects.add_project(session, NewProject(slug=slug, name=slug, folder=f"/srv/{slug}"), OPERATOR)
        for status in (TicketStatus.NEEDS_INPUT, TicketStatus.IN_REVIEW, TicketStatus.BLOCKED):
            for number in range(6):
                body = NewTicket(title=f"Look at {number}", project="web" if number else "api", tags=["q4-goal"])
                ticket = transitions.create_ticket(session, body, OPERATOR)
                values = {"status": status, "moved": now() - timedelta(days=9 - number)}
                session.execute(update(Ticket).where(Ticket.id == ticket.id).values(**values))
    site.ticket()


def test_what_needs_a_person_is_seen_without_scrolling_on_a_desk_and_a_phone(site: BoardSite, tab: Tab) -> None:
    stage_states(site)
    for width, height_ in ((1440, 900), (390, 844)):
        page = tab(viewport={"width": width, "height": height_})
        go(page, "/board")
        for name, first in (("needs_you", 1), ("in_review", 7), ("stuck", 13)):
            lane = page.locator(f"#lane-{name}")
            expect(lane.locator(".count")).to_have_text("6")
            expect(lane.locator("[data-card] .mono")).to_have_text([f"MC-{first + place}" for place in range(5)])
            expect(lane.locator(".project").first).to_have_text("Project api")
            for row in lane.locator("[data-card]").all():
                expect(row.locator(".project")).to_be_in_viewport(ratio=1)
                expect(row.locator(".title")).to_be_in_viewport(ratio=1)
    page.get_by_role("navigation", name="States").get_by_role("link", name="In review 6").click()
    expect(page.locator("[data-card]")).to_have_count(6)


def test_filters_take_several_values_in_place_and_the_view_is_one_key_away(site: BoardSite, page: Page) -> None:
    stage_states(site)
    go(page, "/board")
    top = height(page, "#board")
    page.locator("#filter-tag summary").click()
    page.locator("#filter-tag").get_by_label("q4-goal").check()
    page.locator("#filter-tag").get_by_label("bug").check()
    expect(page.locator("#filter-tag summary")).to_have_text(re.compile(r"Tag: bug\s*\+1"))
    expect(page.locator("#lane-todo .count")).to_have_text("0")
    assert page.url.endswith("tag=bug&tag=q4-goal") and height(page, "#board") == top
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#lane-todo .count")).to_have_text("1")
    expect(page.locator("#filter-tag :checked")).to_have_count(0)
    page.locator("#board").focus()
    for _ in range(6):
        page.keyboard.press("j")
    expect(page.locator("#lane-in_review #card-MC-7 .title")).to_be_focused()
    page.keyboard.press("v")
    expect(page.locator("#column-needs_input [data-card]")).to_have_count(6)
    columns = page.locator("[data-column]:not([data-folded])")
    assert all(box["x"] + box["width"] <= 1440 for each in columns.all() if (box := each.bounding_box()))
    go(page, "/board")
    expect(page.locator("[data-view=columns]")).to_be_visible()
