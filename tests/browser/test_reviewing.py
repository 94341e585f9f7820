"""A review: remarks on lines are kept until they are sent, and reach the agent as one message."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from database import writing
from tests.workers.repositories import commit, create_repository, git
from tickets.lifecycle import undo
from tickets.runs import reports

from .conftest import BoardSite
from .test_live_pages import go, wait_until_live

pytestmark = pytest.mark.browser


def test_remarks_on_lines_outlive_a_reload_and_are_sent_as_one_message(
    site: BoardSite, page: Page, tmp_path: Path
) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    site.change(run, tmp_path / "repository")
    with writing(site.store) as session:
        reports.apply_report(session, run, reports.RunReport(verdict="review", summary="Look."), reports.RetryPolicy())
    page.goto(f"/ticket/{ticket}?tab=changes")
    greet = page.locator("[data-file='greet.txt']")
    greet.locator("[data-remark='-1']").click()
    page.keyboard.type("Why not kept?")
    greet.locator("[data-remark='1']").click()
    page.keyboard.type("Too short.")
    page.locator("[data-file='new.txt'] [data-viewed]").click()
    page.reload()
    expect(page.locator(".remark textarea")).to_have_count(2)
    expect(page.locator("[data-file='new.txt']")).not_to_have_attribute("open", "")
    greet.locator(".remark").first.get_by_role("button", name="Remove").focus()
    page.get_by_label("Summary for the agent").fill("Nearly.")
    page.get_by_role("button", name="Request changes").last.click()
    entry = page.locator("#entries .entry", has_text="Nearly.")
    expect(entry.locator("li")).to_have_text(
        ["Comment 1 on greet.txt:1 (as it was): Why not kept?", "Comment 2 on greet.txt:1: Too short."]
    )
    go(page, f"/ticket/{ticket}?tab=changes")
    expect(page.locator("[data-file]")).to_have_count(2)
    expect(page.locator(".remark")).to_have_count(0)
    comment = page.locator("#line-comment-2")
    expect(comment).to_contain_text("Too short.")
    comment.get_by_role("button", name="Resolve conversation").click()
    expect(comment).to_contain_text("Resolved by browser")
    page.get_by_role("link", name="Since your last review").click()
    expect(page.get_by_role("heading", name="No changes since your last review")).to_be_visible()


NO_EXPIRY = "{ const set = setTimeout; window.setTimeout = (act, ms, ...rest) => set(act, ms === 10000 ? 2 ** 30 : ms, ...rest); }"
"""Script with which the offer to undo stays, however slow the machine is."""


def test_the_queue_is_worked_by_keyboard_from_item_to_item(
    site: BoardSite, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undo, "UNDO_WINDOW", timedelta(hours=1))
    page.add_init_script(NO_EXPIRY)
    review, asking, blocked = site.hand_in(tmp_path / "web"), site.ticket(title="Which?"), site.ticket(title="Stuck")
    site.report_verdict(asking, "question")
    site.move(blocked, "block", reason="needs_human", owner="alice", next_action="Look")
    place, heading = page.locator("[data-place]"), page.get_by_role("heading", level=1)
    go(page, "/board")
    page.keyboard.press("r")
    expect(place).to_have_text("1 of 3")
    go(page, f"/review?at={asking}")
    page.keyboard.press("p")
    expect(heading).to_contain_text(review)
    wait_until_live(page)
    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page).to_have_url(f"{site.base}/activity")
    assert site.load_ticket(review)["landing"] is None  # the keys of another page are no decision
    go(page, "/review")
    page.keyboard.press("Shift+C")
    expect(page.locator("#ticket-form")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#ticket-form")).to_be_hidden()
    page.keyboard.press("c")
    expect(page.get_by_label("Summary for the agent")).to_be_focused()
    page.get_by_label("Summary for the agent").blur()
    page.keyboard.press("a")
    expect(place).to_have_text("1 of 2")
    assert site.load_ticket(review)["landing"]["state"] == "pending"
    wait_until_live(page)
    page.keyboard.press("a")
    page.keyboard.type("This one.")
    page.keyboard.press("Control+Enter")
    expect(place).to_have_text("1 of 1")
    wait_until_live(page)
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Nothing needs you")).to_be_visible()
    wait_until_live(page)
    page.keyboard.press("u")
    expect(heading).to_contain_text(blocked)


def test_the_keyboard_walks_the_lines_of_a_file(site: BoardSite, page: Page, tmp_path: Path) -> None:
    ticket = site.ticket()
    site.change(site.claim(ticket), tmp_path / "repository")
    go(page, f"/ticket/{ticket}?tab=changes")
    numbers = page.locator("[data-file='new.txt'] [data-remark]")
    numbers.first.focus()
    page.keyboard.press("ArrowDown")
    expect(numbers.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Comment on new.txt, line 2")).to_be_focused()


def test_before_and_after_share_the_width_of_a_file_that_is_expanded_in_place(
    site: BoardSite, page: Page, tmp_path: Path
) -> None:
    """Regression: a style of the same name made the table as narrow as its words."""
    numbers = "".join(f"{n}\n" for n in range(1, 61))
    repo = create_repository(tmp_path / "repository", long=numbers)
    base = git(repo, "rev-parse", "HEAD")
    git(repo, "switch", "--quiet", "--create", "mc/greet")
    commit(repo, "Say thirty", long=numbers.replace("30\n", "thirty\n"))
    ticket = site.ticket()
    site.worked_in(site.claim(ticket), repo, base)
    page.goto(f"/ticket/{ticket}?tab=changes&view=split")
    table, file = (page.locator(f"[data-file='long.txt']{part}").bounding_box() for part in (" table", ""))
    assert table is not None and file is not None and table["width"] > file["width"] - 4
    before, after = (getattr(page.get_by_role("button", name="Expand 20 lines"), end) for end in ("first", "last"))
    before.click()
    expect(page.locator("[data-remark='7']")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("textarea:focus")).to_be_visible()
    page.keyboard.type("Odd.")
    expect(page.locator(".remark")).to_contain_text("Saved, goes with your review")
    before.click()
    expect(page.locator("[data-remark='1']")).to_be_focused()
    after.click()
    expect(page.locator("[data-remark='53']")).to_be_visible()
    after.click()
    expect(page.locator("[data-remark]")).to_have_text([*map(str, range(1, 31)), *map(str, range(30, 61))])
    expect(page.get_by_role("button", name="Expand 20 lines")).to_have_count(0)


def test_an_item_opens_the_line_that_proves_it_and_is_decided_on(site: BoardSite, page: Page, tmp_path: Path) -> None:
    ticket = site.ticket(acceptance=["It counts"])
    run = site.claim(ticket)
    site.change(run, tmp_path / "repository")
    claim = {"text": "It does", "item": 0, "proof": {"kind": "diff", "ref": "new.txt:2"}}
    with writing(site.store) as session:
        report = reports.RunReport.model_validate({"verdict": "review", "summary": "Look.", "claims": [claim]})
        reports.apply_report(session, run, report, reports.RetryPolicy())
    go(page, f"/ticket/{ticket}?tab=evidence")
    page.get_by_role("link", name="new.txt:2").click()
    expect(page.locator(".line-target")).to_have_count(1)
    expect(page.locator("[data-file='new.txt'] .line-target [data-remark='2']")).to_be_in_viewport()
    page.go_back()
    wait_until_live(page)
    page.locator(".item-bar summary").click()
    page.get_by_role("button", name="Mark with gaps").click()
    expect(page.locator(".item-state")).to_have_text("With gaps")


def test_several_agents_try_a_ticket_from_its_menu_and_one_attempt_is_kept(site: BoardSite, page: Page) -> None:
    ticket = site.ticket(assigned_to=None)
    go(page, f"/ticket/{ticket}")
    page.locator(".ticket-head summary", has_text="More").click()
    page.get_by_role("link", name="Try with several agents").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Codex").check()
    dialog.get_by_role("button", name="Start attempts").click()
    expect(dialog.get_by_text("Choose two or three agents.")).to_be_visible()
    expect(dialog.get_by_label("Codex")).to_be_checked()
    dialog.get_by_label("Claude Code").check()
    dialog.get_by_role("button", name="Start attempts").click()
    attempts = page.locator(".attempts tbody tr")
    expect(attempts).to_have_count(2)
    attempts.filter(has_text="codex").get_by_role("button", name="Keep this attempt").click()
    expect(page.get_by_text("was kept.")).to_be_visible()
    expect(page.locator(".attempts [data-kept]")).to_contain_text("codex")
    expect(page.locator(".attempts tbody tr", has_text="claude")).to_contain_text("Cancelled")
