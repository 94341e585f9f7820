"""On paper: what is to be read, whole, in black on white, and where its links lead."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from database import writing
from tickets.conversation import timeline
from tickets.runs import reports
from tickets.shared.lookup import get_ticket

from .conftest import OPERATOR, House, Tab

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


def printed(page: Page, path: str) -> None:
    page.goto(path)
    page.emulate_media(media="print")
    look = page.evaluate(LOOK)
    assert look == {"text": BLACK, "pressed": 0, "wide": False, "cut": []}, path


@pytest.fixture
def sheet(tab: Tab) -> Page:
    """A page of A4 between its margins, for somebody who likes it dark."""
    return tab(viewport={"width": 690, "height": 1000}, color_scheme="dark")


def test_a_ticket_is_printed_whole_with_its_evidence_and_the_addresses_of_links(house: House, sheet: Page) -> None:
    ticket = house.ticket(acceptance=[{"text": "It is said"}], description="See [the plan](https://example.org/plan).")
    run = house.claim(ticket)
    with writing(house.store) as session:
        for number in range(80):
            body = timeline.NewComment(body=f"remark {number}")
            timeline.add_comment(session, get_ticket(session, ticket).id, body, OPERATOR)
    house.tell(run, "agent.text", block="b1", text="x" * 300)
    house.tell(run, "agent.question", request="q1", questions=[{"text": "Which one?", "choices": [{"label": "This"}]}])
    printed(sheet, f"/ticket/{ticket}/print")
    text = sheet.locator("main").inner_text()
    assert all(f"remark {number}" in text.split() or f"remark {number}\n" in text for number in range(80))
    assert "Which one?" in text and "This" in text and "It is said" in text and "not met yet" in text
    after = sheet.evaluate("getComputedStyle(document.querySelector('.prose a'), '::after').content")
    assert "https://example.org/plan" in after
    claim = {"kind": "tests", "text": "All pass."}
    with writing(house.store) as session:
        report = reports.RunReport.model_validate({"verdict": "review", "summary": "Look.", "claims": [claim]})
        reports.apply_report(session, run, report, reports.RetryPolicy())
    printed(sheet, f"/ticket/{ticket}/print")
    expect(sheet.locator("main")).to_contain_text("All pass.")
    expect(sheet.locator("main")).to_contain_text("Verified by Mission Control")
    assert sheet.pdf().startswith(b"%PDF")


def test_pages_are_printed_without_what_is_to_be_pressed(house: House, sheet: Page) -> None:
    ticket = house.ticket(title="Say good evening")
    house.claim(ticket)
    house.ticket(status="inbox", title="Count the stars")
    house.trouble()
    for path in ("/board", "/", f"/ticket/{ticket}", "/activity", "/incidents"):
        printed(sheet, path)
    sheet.goto("/board")
    expect(sheet.locator("main")).to_contain_text("Count the stars")


def test_the_page_that_is_printed_is_a_press_away(house: House, page: Page) -> None:
    ticket = house.ticket(title="Say good evening")
    page.goto(f"/ticket/{ticket}")
    page.get_by_role("link", name="Print").click()
    page.evaluate("self.print = () => (document.title = 'printing')")
    page.get_by_role("button", name="Print").click()
    expect(page).to_have_title("printing")
