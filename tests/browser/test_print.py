"""On paper: what is to be read, whole, in black on white, and where its links lead."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from database import writing
from tickets.conversation import timeline
from tickets.runs import reports
from tickets.shared.lookup import get_ticket

from .conftest import OPERATOR, BoardSite, Tab

pytestmark = pytest.mark.browser

LOOK = """() => {
  const look = (element) => getComputedStyle(element);
  const shown = (selector) => [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility());
  const isCut = (e) => look(e).overflowY !== "visible" && e.scrollHeight > e.clientHeight + 1 && e.clientHeight > 1;
  return {
    text: look(document.querySelector("h1")).color,
    pressed: shown(".rail, .bottom, .topbar, .composer, .tabs, .flashes, .button, dialog").length,
    wide: document.documentElement.scrollWidth > innerWidth,
    cut: shown("main *").filter(isCut).map((element) => element.className),
  };
}"""
BLACK = "oklch(0 0 0)"


def open_printed(page: Page, path: str) -> None:
    page.goto(path)
    page.emulate_media(media="print")
    look = page.evaluate(LOOK)
    assert look == {"text": BLACK, "pressed": 0, "wide": False, "cut": []}, path


@pytest.fixture
def sheet(tab: Tab) -> Page:
    """A page of A4 between its margins, for somebody who likes it dark."""
    return tab(viewport={"width": 690, "height": 1000}, color_scheme="dark")


def test_a_ticket_is_printed_whole_with_its_evidence_and_the_addresses_of_links(site: BoardSite, sheet: Page) -> None:
    ticket = site.ticket(acceptance=[{"text": "It is said"}], description="See [the plan](https://example.org/plan).")
    run = site.claim(ticket)
    with writing(site.store) as session:
        for number in range(80):
            body = timeline.NewComment(body=f"remark {number}")
            timeline.add_comment(session, get_ticket(session, ticket).id, body, OPERATOR)
    site.tell(run, "agent.text", block="b1", text="x" * 300)
    site.tell(run, "agent.question", request="q1", questions=[{"text": "Which one?", "choices": [{"label": "This"}]}])
    open_printed(sheet, f"/ticket/{ticket}/print")
    text = sheet.locator("main").inner_text()
    assert all(f"remark {number}" in text.split() or f"remark {number}\n" in text for number in range(80))
    assert "Which one?" in text and "This" in text and "It is said" in text and "not met yet" in text
    after = sheet.evaluate("getComputedStyle(document.querySelector('.prose a'), '::after').content")
    assert "https://example.org/plan" in after
    claim = {"kind": "tests", "text": "All pass."}
    with writing(site.store) as session:
        report = reports.RunReport.model_validate({"verdict": "review", "summary": "Look.", "claims": [claim]})
        reports.apply_report(session, run, report, reports.RetryPolicy())
    open_printed(sheet, f"/ticket/{ticket}/print")
    expect(sheet.locator("main")).to_contain_text("All pass.")
    expect(sheet.locator("main")).to_contain_text("Verified by Mission Control")
    assert sheet.pdf().startswith(b"%PDF")


def test_pages_are_printed_without_what_is_to_be_pressed(site: BoardSite, sheet: Page) -> None:
    ticket = site.ticket(title="Say good evening")
    site.claim(ticket)
    site.ticket(status="inbox", title="Count the stars")
    site.trouble()
    for path in ("/board", "/", f"/ticket/{ticket}", "/activity", "/incidents"):
        open_printed(sheet, path)
    sheet.goto("/board")
    expect(sheet.locator("main")).to_contain_text("Count the stars")


def test_the_page_that_is_printed_is_a_press_away(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(title="Say good evening")
    page.goto(f"/ticket/{ticket}")
    page.get_by_role("link", name="Print").click()
    page.evaluate("self.print = () => (document.title = 'printing')")
    page.get_by_role("button", name="Print").click()
    expect(page).to_have_title("printing")
