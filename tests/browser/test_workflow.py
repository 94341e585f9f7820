"""Phases on the page: chosen, started, decided and waived, with the mouse, the keyboard and without scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from database import writing
from tests.waiting import wait_until
from tickets.runs import reports
from tickets.shared import lookup
from tickets.workflow import ticket_phases

from .conftest import BoardSite, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser

DECIDED = [
    {"name": "Dev", "agent": "script", "gate": "person", "choices": ["Ship it", "Hold it"]},
    {"name": "QA", "agent": "operator"},
]


def phases(site: BoardSite, ticket: str) -> list[tuple[str, str | None, str]]:
    with writing(site.store) as session:
        stored_phases = ticket_phases.list_phases(session, lookup.get_ticket(session, ticket).id)
        return [(phase.name, phase.agent, phase.gate.value) for phase in stored_phases]


def report(site: BoardSite, ticket: str, verdict: str) -> None:
    run = site.claim(ticket)
    with writing(site.store) as session:
        reports.apply_report(
            session, run, reports.RunReport.model_validate({"verdict": verdict}), reports.RetryPolicy()
        )


def test_a_workflow_is_chosen_and_started_from_the_box(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    page.get_by_role("link", name="Choose phases").click()
    dialog = page.locator("#move-dialog")
    dialog.get_by_label("Review", exact=True).check()
    dialog.get_by_label("QA", exact=True).check()
    expect(dialog.get_by_role("button", name="Start Dev Review + QA")).to_be_visible()
    dialog.get_by_label("QA", exact=True).uncheck()
    dialog.locator("[data-phase=Dev]").get_by_label("Completed when").select_option("reviewer")
    review = dialog.locator("[data-phase=Review]")
    review.get_by_label("Assigned to").select_option("claude")
    expect(review.get_by_label("Choices")).to_be_hidden()
    review.get_by_label("Completed when").select_option("decision")
    review.get_by_label("Choices").fill("Ship it, Hold it")
    dialog.get_by_role("button", name="Start Dev + Review").click()
    expect(page.locator(".phase-list > li")).to_have_count(2)
    expect(page.locator(".phase-list [aria-current=step]")).to_contain_text("claude reviews it")
    assert phases(site, ticket) == [("Dev", None, "reviewer"), ("Review", "claude", "person")]


def test_the_usual_workflow_starts_with_one_press(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    page.get_by_role("button", name="Start Dev").click()
    expect(page.locator(".phase-list [aria-current=step]")).to_contain_text("A person approves")
    assert phases(site, ticket) == [("Dev", None, "person")]


def test_phases_change_places_by_keyboard_and_stay_there_through_news(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(phases=[{"name": "Dev"}, {"name": "Review"}, {"name": "QA"}])
    go(page, f"/ticket/{ticket}/workflow")
    page.get_by_role("button", name="Move QA up").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Move QA up")).to_be_focused()
    expect(page.locator("[data-phase]").first).to_have_attribute("data-phase", "QA")
    page.get_by_role("button", name="Save phases").click()
    expected = ["Dev", "QA", "Review"]
    wait_until(
        lambda: [name for name, _, _ in phases(site, ticket)] == expected, description="the phases in their new order"
    )
    expect(page.locator("[data-error] .notice")).to_have_count(0)


def test_a_refusal_is_said_in_the_dialog_and_loses_nothing(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    go(page, f"/ticket/{ticket}")
    page.get_by_role("link", name="Choose phases").click()
    page.locator("#move-dialog").get_by_label("Runbook").first.fill("docs/dev.md")
    with writing(site.store) as session:
        lookup.get_ticket(session, ticket).version = 2
    page.get_by_role("button", name="Start Dev", exact=True).last.click()
    expect(page.locator("#move-dialog [data-error]")).to_contain_text("changed")
    expect(page.locator("#move-dialog").get_by_label("Runbook").first).to_have_value("docs/dev.md")


def test_typed_phases_come_back_after_escape_and_a_reload_until_they_are_saved(site: BoardSite, page: Page) -> None:
    stored = [{"name": "Dev"}, {"name": "Review", "runbook": "docs/old.md"}, {"name": "QA"}]
    ticket = site.ticket(phases=stored)
    go(page, f"/ticket/{ticket}")
    edit = page.get_by_role("link", name="Edit later phases")
    edit.click()
    dialog = page.locator("#move-dialog")
    dialog.locator("[data-phase=Review]").get_by_label("Runbook").fill("docs/new.md")
    dialog.get_by_label("Another phase", exact=True).check()
    dialog.get_by_label("Name", exact=True).fill("Docs")
    dialog.get_by_role("button", name="Move QA up").click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    go(page, f"/ticket/{ticket}")
    edit.click()
    expect(dialog.get_by_text("Draft restored.")).to_be_visible()
    expect(dialog.locator("[data-phase]").first).to_have_attribute("data-phase", "QA")
    dialog.get_by_role("button", name="Save phases").click()
    expect(dialog).to_be_hidden()
    with writing(site.store) as session:
        phases = ticket_phases.list_phases(session, lookup.get_ticket(session, ticket).id)
        assert [(phase.name, phase.runbook) for phase in phases] == [
            ("Dev", None),
            ("QA", None),
            ("Review", "docs/new.md"),
            ("Docs", None),
        ]
    edit.click()
    expect(dialog.get_by_role("button", name="Save phases")).to_be_visible()
    expect(dialog.get_by_text("Draft restored.")).to_be_hidden()


def test_each_choice_is_a_button_that_passes_the_phase(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None, phases=DECIDED)
    report(site, ticket, "done")
    go(page, f"/ticket/{ticket}")
    expect(page.locator(".workflow")).to_contain_text("Waiting for a decision.")
    page.get_by_role("button", name="Ship it").click()
    expect(page.locator(".phase-list > li").first).to_contain_text("Decided: Ship it")
    expect(page.locator(".phase-list [aria-current=step]")).to_contain_text("QA")


def test_a_decision_is_told_to_the_agent_that_works(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None, phases=DECIDED)
    site.claim(ticket)
    go(page, f"/ticket/{ticket}")
    page.get_by_role("button", name="Hold it").click()
    expect(page.locator("#entries")).to_contain_text("Decision for phase Dev: Hold it")
    expect(page.get_by_role("button", name="Hold it")).to_have_attribute("aria-pressed", "true")


def test_a_phase_is_waived_with_its_reason(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None, phases=DECIDED)
    go(page, f"/ticket/{ticket}")
    page.locator(".phase-list > li", has_text="QA").get_by_role("link", name="Waive").click()
    page.get_by_label("Why it does not apply").fill("Only words changed.")
    page.get_by_role("button", name="Waive").click()
    expect(page.locator(".phase-list > li", has_text="QA")).to_contain_text("Waived: Only words changed.")


def test_phases_are_chosen_without_scripts_and_on_a_phone(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket()
    page = tab(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page.goto(f"/ticket/{ticket}/workflow")
    page.get_by_label("QA", exact=True).check()
    page.locator("[data-phase=QA]").get_by_label("Position").fill("1")
    page.locator("[data-phase=Dev]").get_by_label("Position").fill("2")
    page.get_by_role("button", name="Start").click()
    expect(page).to_have_url(f"{site.base}/ticket/{ticket}")
    assert [name for name, _, _ in phases(site, ticket)] == ["QA", "Dev"]
