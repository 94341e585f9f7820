"""The past of a ticket and its runs, looked at: dragged, stepped, played, opened, on a desk and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from database import writing
from tickets.conversation import timeline
from tickets.lifecycle import transitions
from tickets.runs import reports
from tickets.shared import lookup

from .conftest import OPERATOR, BoardSite, OpenContext, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser


def lived(site: BoardSite) -> tuple[str, int]:
    """A ticket whose agent worked and asked for a review, and its run."""
    ticket = site.ticket()
    run = site.claim(ticket)
    site.tell(run, "agent.text", block="b1", text="I look first.")
    site.tell(run, "agent.tool_call", call="k1", name="Bash", input={"command": "make"}, title="make")
    site.tell(run, "agent.tool_result", call="k1", output="made", error=False, exit_code=0, seconds=0.5)
    site.tell(run, "agent.text", block="b2", text="It is built.")
    report = {"verdict": "review", "summary": "Look at it.", "usage": {"input_tokens": 4000, "cost_usd": 0.25}}
    with writing(site.store) as session:
        reports.apply_report(session, run, reports.RunReport.model_validate(report), reports.RetryPolicy())
    return ticket, run


def last(site: BoardSite, ticket: str) -> int:
    with writing(site.store) as session:
        return lookup.get_ticket(session, ticket).event_seq


def test_the_arrow_keys_step_through_what_happened(site: BoardSite, page: Page) -> None:
    ticket, _ = lived(site)
    go(page, f"/ticket/{ticket}?tab=events&at=3")
    then = page.locator(".replay-snapshot")
    expect(then.locator(".state")).to_have_text("In progress")
    expect(then.locator(".entry")).to_have_count(1)
    page.get_by_role("slider", name="Event").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(then.locator(".tool")).to_contain_text("running")
    page.keyboard.press("ArrowRight")
    expect(then).to_contain_text("It is built.")
    expect(then.locator(".tool")).to_contain_text("0.5 s")
    page.keyboard.press("ArrowLeft")
    expect(then).not_to_contain_text("It is built.")
    page.keyboard.press("End")
    expect(then.locator(".state")).to_have_text("In review")
    expect(page.get_by_role("slider", name="Event")).to_be_focused()
    expect(page).to_have_url(f"{site.base}/ticket/{ticket}?tab=events&at={last(site, ticket)}")


def test_the_ruler_is_dragged_to_a_moment_which_its_address_keeps(site: BoardSite, page: Page) -> None:
    ticket, _ = lived(site)
    go(page, f"/ticket/{ticket}?tab=events")
    box = page.get_by_role("slider", name="Event").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=8)
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    expect(page.locator(".replay-snapshot .state")).to_have_text("To do")
    expect(page.locator(".replay-snapshot")).to_contain_text("No conversation yet.")
    page.reload()
    expect(page.locator(".replay-snapshot h3")).to_have_text("As it was after event 1")
    page.get_by_role("link", name="Back to now").click()
    expect(page.locator(".replay-snapshot")).to_have_count(0)


def test_it_plays_from_the_beginning_to_the_end_and_stops_when_asked(
    site: BoardSite, open_context: OpenContext
) -> None:
    ticket, _ = lived(site)
    page = open_context().new_page()
    page.clock.install()
    page.goto(f"/ticket/{ticket}?tab=events")
    page.get_by_role("button", name="Play").click()
    expect(page.locator(".replay-snapshot h3")).to_have_text("As it was after event 1")
    page.clock.run_for(1300)
    expect(page.locator(".replay-snapshot h3")).to_have_text("As it was after event 2")
    page.get_by_role("button", name="Pause").click()
    page.clock.run_for(5000)
    expect(page.locator(".replay-snapshot h3")).to_have_text("As it was after event 2")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_news_lengthens_the_ruler_and_leaves_the_past_alone(site: BoardSite, page: Page) -> None:
    ticket, _ = lived(site)
    go(page, f"/ticket/{ticket}?tab=events&at=2")
    before = last(site, ticket)
    with writing(site.store) as session:
        timeline.add_comment(session, lookup.get_ticket(session, ticket).id, timeline.NewComment(body="Now."), OPERATOR)
        transitions.transition(
            session, lookup.get_ticket(session, ticket).id, "request_changes", OPERATOR, body="Again."
        )
    expect(page.locator(f"#event-{before + 1}")).to_be_visible()
    expect(page.locator(".replay-snapshot h3")).to_have_text("As it was after event 2")
    expect(page.locator(".replay-place")).to_have_text(f"2 of {last(site, ticket)}")


def test_a_moment_is_chosen_by_its_number_without_scripts(site: BoardSite, tab: Tab) -> None:
    ticket, _ = lived(site)
    page = tab(java_script_enabled=False)
    page.goto(f"/ticket/{ticket}?tab=events")
    page.get_by_role("spinbutton", name="Event").fill("1")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".replay-snapshot .state")).to_have_text("To do")
    page.get_by_role("link", name="Step forward").click()
    expect(page.locator(".replay-snapshot .state")).to_have_text("In progress")


def test_a_run_is_opened_from_the_list_on_a_phone(site: BoardSite, tab: Tab) -> None:
    ticket, _ = lived(site)
    page = tab(viewport={"width": 360, "height": 800})
    go(page, f"/ticket/{ticket}?tab=runs")
    row = page.locator(".stacks tbody tr").first
    expect(row.locator("[data-label=Cost]")).to_have_text("$0.25")
    wide = row.evaluate("row => row.scrollWidth <= document.documentElement.clientWidth")
    assert wide
    row.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_role("heading", name="Run 1")).to_be_visible()
    expect(page.locator(".run-detail")).to_contain_text("Submit: in progress → in review")
    page.get_by_role("link", name="All runs").click()
    expect(page).to_have_url(f"{site.base}/ticket/{ticket}?tab=runs")


def test_a_live_run_is_stopped_where_it_is_shown(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    go(page, f"/ticket/{ticket}?tab=runs&run={run}")
    page.get_by_label("Reason for stopping").fill("Wrong branch.")
    page.get_by_role("button", name="Stop this run").click()
    expect(page.locator(".run-detail")).to_contain_text("Stop requested (parked)")
    expect(page.locator(".strip .state").first).to_have_text("Waiting")
