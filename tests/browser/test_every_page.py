"""Every page, in both themes, on a desk and on a small phone: accessible, not too wide, and without a complaint."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from models import writing
from tests.browser.conftest import OPERATOR, House, Opened
from tickets import evidence, planning, quarantine
from tickets.lookup import get, get_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = Path(__file__).parent.parent / "vendor" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = {"desk": (1440, 900), "phone": (360, 2400)}
"""The phone is tall, so that no control happens to stand half under a bar that floats."""

LONG = "rm -rf build && npm run build -- --mode production --output-directory dist"
"""What is wider than a phone must be so in a place of its own."""

FAILED = "axe.run(document, {runOnly: %s}).then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].target))"


def paths(house: House, folder: Path) -> list[str]:
    """The addresses of all pages, with a ticket that has something of everything."""
    ticket = house.ticket(
        tags=["bug"], acceptance=[{"text": "A line"}], description="Some `code`\n\n```\nand more\n```"
    )
    phases = [{"name": "Dev", "choices": ["Ship it", "Hold it"], "runbook": "docs/dev.md"}, {"name": "QA"}]
    with writing(house.store) as session:
        planning.begin(session, get(session, ticket), planning.Begin.model_validate({"phases": phases}), OPERATOR)
    run = house.claim(ticket)
    house.tell(run, "agent.text", block="b1", text="I look.\n\n```sh\nls\n```")
    house.tell(run, "agent.thinking", block="b2", text="Hm.", seconds=2)
    house.tell(run, "agent.tool_call", call="k1", name="Bash", input={"command": "ls"}, title="ls")
    house.tell(run, "agent.approval", request="r1", tool="Bash", input={"command": LONG}, title=LONG)
    house.tell(run, "agent.question", request="q1", questions=[{"text": "Which?", "choices": [{"label": "This"}]}])
    house.ticket(status="inbox", priority="urgent")
    house.furnish(ticket)
    house.trouble()
    house.change(run, folder / "repository")
    check = {"argv": ["make"], "exit_code": 2, "seconds": 1.0, "sha256": "ab", "tail": "FAILED"}
    with writing(house.store) as session:
        worked = get_run(session, run)
        evidence.observe(session, worked, {"check": check, "check_base": check})
        evidence.claim(session, worked, [{"text": "It is there.", "item": 0}])
        quarantine.keep(session, worked, "report", "too late", {"summary": "Late."})
    reviewed, failed = (house.hand_in(folder / f"project-{number}") for number in (1, 2))
    house.fail_landing(failed)
    tabs = [
        f"/ticket/{ticket}?tab={tab}"
        for tab in (
            "conversation",
            "changes",
            "changes&view=split",
            "runs",
            f"runs&run={run}",
            "evidence",
            "context",
            "events",
            "events&at=5",
        )
    ]
    return [
        "/",
        "/board?view=columns",
        "/board?view=lanes",
        "/board?view=list",
        f"/board/bulk?move=park&tickets={ticket}",
        "/ticket/new?status=waiting",
        "/activity",
        "/health",
        "/patterns",
        "/help",
        "/search?q=line",
        "/tasks",
        "/incidents",
        "/logs",
        "/logs?show=heartbeats",
        "/api/docs",
        "/nothing",
        "/offline",
        f"/ticket/{ticket}/move/block",
        f"/ticket/{ticket}/print",
        f"/ticket/{ticket}/workflow",
        f"/ticket/{ticket}/workflow/waive?phase=QA",
        f"/ticket/{ticket}/operator",
        f"/ticket/{reviewed}?tab=changes",
        f"/ticket/{reviewed}/move/approve",
        f"/ticket/{failed}",
        "/settings",
        "/settings/projects/project-1",
        f"/ticket/{ticket}/edit/description",
        f"/ticket/{ticket}/move/park",
        *tabs,
    ]


def complaints(page: Page, path: str, width: int) -> list[str]:
    page.goto(path)
    page.wait_for_selector("html[data-js]")
    found = [f"{path}: {text}" for text in page.evaluate(FAILED % RULES)]
    wide = page.evaluate("document.documentElement.scrollWidth")
    return found + ([f"{path}: {wide} pixels wide"] if wide > width else [])


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_accessible_and_fits(house: House, opened: Opened, theme: str, size: str, tmp_path: Path) -> None:
    width, height = SIZES[size]
    context = opened(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        reduced_motion="reduce",
        bypass_csp=True,
    )
    context.add_init_script(path=AXE)
    page = context.new_page()
    assert [text for path in paths(house, tmp_path) for text in complaints(page, path, width)] == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_what_floats_over_the_board_is_accessible_too(house: House, opened: Opened, theme: str) -> None:
    context = opened(color_scheme=theme, reduced_motion="reduce", bypass_csp=True)
    context.add_init_script(path=AXE)
    page = context.new_page()
    found = complaints(page, "/board?view=columns", 1280)  # without a ticket: what to do first
    house.ticket(assigned_to=None)
    page.locator("[data-select]").check()  # the first ticket takes the place of the first steps by itself
    page.get_by_text("Move", exact=True).click()
    found += page.evaluate(FAILED % RULES)
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.locator("#ticket-dialog summary").last.click()
    found += page.evaluate(FAILED % RULES)
    assert found == []


def test_no_page_has_an_error_in_its_console(house: House, opened: Opened, tmp_path: Path) -> None:
    page = opened().new_page()
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    for path in paths(house, tmp_path):
        page.goto(path)
        for link in page.locator("#connection").all():
            expect(link).to_have_attribute("data-link", "live")
    assert refused == [f"{house.base}/nothing"]
