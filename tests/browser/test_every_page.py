"""Every page, in both themes, on a desk and on a small phone, and as its readers set it: accessible, nothing cut off,
nothing too wide, and without a complaint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import auth
import secret_files
from database import writing
from models import AlertDelivery, DeliveryState
from tickets.alerts import channels, deliveries, subscriptions, telegram_log, telegram_pairing
from tickets.alerts.channels import ChannelRules, PushOptions
from tickets.alerts.subscriptions import NewSubscription
from tickets.conversation import messages
from tickets.conversation.messages import NewMessage
from tickets.planning import phase_editing
from tickets.shared.lookup import get_run, get_ticket
from tickets.team import projects, repositories
from tickets.workflow import branch_states, evidence, item_evidence, quarantine
from tickets.workflow.branch_states import Overlap, TrialResult

from . import page_rules
from .conftest import OPERATOR, BoardSite, OpenContext, Tab
from .test_live_pages import wait_until_live

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LONG = "rm -rf build && npm run build -- --mode production --output-directory dist"
"""What is wider than a phone must be so in a place of its own."""


OLD_SLOT = "pool-1.20261130T080000000000"
REPOSITORY: dict[str, Any] = {
    "problem": "On the machine the repository has no branch main.",
    "notes": ["The submodule lib is not initialised: fatal: transport 'file' not allowed"],
    "slots": [
        {"name": "pool-1", "state": "free", "branch": "mc/MC-1-add-a-line", "holder": None},
        {"name": "pool-2", "state": "held", "branch": "mc/MC-2-add-another", "holder": "run-1"},
        {
            "name": OLD_SLOT,
            "state": "set_aside",
            "branch": "mc/MC-1-add-a-line",
            "since": "2026-11-30T08:00:00.000000Z",
            "reason": "It could not be cleaned: .claude/worktrees/inner/ can neither be saved nor removed (a repository in it?)",
            "problem": "",
            "place": f"/home/me/.local/share/mission-control/worktrees/web/{OLD_SLOT}",
        },
    ],
}


KINDS = ("commit", "screenshot", "sign_off")
RUNBOOK = "https://docs.example.com/evidence"


def set_up_alerts(site: BoardSite, identifier: str) -> None:
    """Set up a channel with a browser, an alert that waits and one that could not be sent."""
    instance: auth.Instance = site.app.extensions["mission_control"]
    secret_files.ensure_push_key(instance.settings)
    kind, options = channels.get_type("push"), PushOptions(contact="mailto:me@example.com")
    subscription = {"endpoint": "https://fcm.googleapis.com/fcm/send/abc", "p256dh": "A" * 87, "auth": "A" * 22}
    with writing(site.store) as session:
        channels.save_channel(session, kind, ChannelRules(enabled=True, quiet_hours="22:00-07:00"), options, OPERATOR)
        subscriptions.add_subscription(session, NewSubscription.model_validate(subscription), "Firefox", OPERATOR)
        deliveries.request_test(session, "push", OPERATOR)
        row = session.get_one(AlertDelivery, deliveries.request_test(session, "push", OPERATOR))
        deliveries.record_failure(session, [row], "fcm.googleapis.com answered 503.", None, False)
        body = NewMessage(body="Use the other file.")
        message = messages.queue_message(session, get_ticket(session, identifier), body, OPERATOR)
        message.state, message.failure = DeliveryState.FAILED, messages.UNCONFIRMED


def set_up_telegram(site: BoardSite) -> None:
    """Set up a bot that cannot be reached, with a person and a chat that has blocked it."""
    with writing(site.store) as session:
        kind, rules = channels.get_type("telegram"), ChannelRules(enabled=True)
        channels.save_channel(session, kind, rules, channels.NoOptions(), OPERATOR)
        telegram_pairing.pair_account(session, telegram_pairing.issue_code(session, "alice", OPERATOR), 11, "@alice")
        for chat_id in (11, -500):
            telegram_pairing.add_chat(session, chat_id)
            telegram_pairing.update_chat(session, chat_id, f"Chat {chat_id}", is_forum=chat_id < 0)
        telegram_pairing.record_chat_problem(session, 11, "Forbidden: bot was blocked by the user")
        telegram_log.open_bot(session, 123456789)
        telegram_log.record_problem(session, 123456789, "Telegram answered 401: Unauthorized")


def paths(site: BoardSite, folder: Path) -> list[str]:
    """The addresses of all pages, with a ticket that has something of everything."""
    ticket = site.ticket(tags=["bug"], acceptance=[{"text": "A line"}], description="Some `code`\n\n```\nand more\n```")
    phases = [{"name": "Dev", "choices": ["Ship it", "Hold it"], "runbook": "docs/dev.md"}, {"name": "QA"}]
    with writing(site.store) as session:
        phase_editing.begin_workflow(
            session,
            get_ticket(session, ticket),
            phase_editing.BeginWorkflow.model_validate({"phases": phases}),
            OPERATOR,
        )
    run = site.claim(ticket)
    site.tell(run, "agent.text", block="b1", text="I look.\n\n```sh\nls\n```")
    site.tell(run, "agent.thinking", block="b2", text="Hm.", seconds=2)
    site.tell(run, "agent.tool_call", call="k1", name="Bash", input={"command": "ls"}, title="ls")
    site.tell(run, "agent.approval", request="r1", tool="Bash", input={"command": LONG}, title=LONG)
    site.tell(run, "agent.question", request="q1", questions=[{"text": "Which?", "choices": [{"label": "This"}]}])
    site.ticket(status="inbox", priority="urgent")
    site.furnish(ticket)
    site.trouble()
    site.change(run, folder / "repository")
    check = {"argv": ["make"], "exit_code": 2, "seconds": 1.0, "sha256": "ab", "tail": "FAILED"}
    with writing(site.store) as session:
        work_run = get_run(session, run)
        evidence.record_observations(session, work_run, {"check": check, "check_base": check})
        claim = {"text": "It is there.", "item": 0, "proof": {"kind": "check", "ref": ""}}
        item_evidence.record_claims(session, work_run, [claim])
        quarantine.store_payload(session, work_run, "report", "too late", {"summary": "Late."})
    reviewed, failed = (site.hand_in(folder / f"project-{number}") for number in (1, 2))
    with writing(site.store) as session:
        reviewed_id = get_ticket(session, reviewed).id
        trial = TrialResult(reviewed_id, "a" * 40, "b" * 40, "main", "c" * 40, ["src/a.py"])
        branch_states.record_trials(session, [trial])
        branch_states.record_overlaps(session, {reviewed_id: [Overlap(ticket, "src/a.py", 10, 20)]})
    site.fail_landing(failed)
    with writing(site.store) as session:
        project = projects.get_project(session, "project-1")
        repositories.record_state(session, project.id, "build-machine", **REPOSITORY)
        project.evidence_policy = [
            {"kind": kind, "before": "approve", "tags": [], "runbook": RUNBOOK} for kind in KINDS
        ]
        project.live_hosts = ["localhost:*"]
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
    set_up_alerts(site, ticket)
    set_up_telegram(site)
    return [
        "/",
        "/board?view=columns",
        "/board?view=lanes",
        "/board?view=list",
        f"/board/bulk?move=park&tickets={ticket}",
        "/ticket/new?status=waiting",
        "/agents/live",
        "/activity",
        "/health",
        "/patterns",
        "/help",
        "/search?q=line",
        "/tasks",
        "/tasks/new",
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
        f"/ticket/{ticket}/receipt",
        f"/ticket/{reviewed}/evidence/waive?kind=screenshot",
        f"/ticket/{reviewed}?tab=evidence",
        f"/review?at={reviewed}",
        f"/ticket/{reviewed}/move/approve",
        f"/ticket/{failed}",
        "/settings",
        "/settings/alerts",
        "/settings/projects/project-1",
        f"/ticket/{ticket}/edit/description",
        f"/ticket/{ticket}/move/park",
        *tabs,
    ]


def check(page: Page, path: str) -> list[str]:
    """Visit a page once, and measure every rule on it."""
    page_rules.open_page(page, path)
    offences = [*page_rules.check_accessibility(page), *page_rules.check_reading(page)]
    return [f"{path}: {text}" for text in offences]


@pytest.mark.parametrize("third", [0, 1, 2])
def test_every_page_keeps_every_rule_and_has_no_error_in_its_console(
    site: BoardSite, open_context: OpenContext, tmp_path: Path, third: int
) -> None:
    page = open_context(reduced_motion="reduce").new_page()
    failed_urls: list[str] = []
    page.on("response", lambda answer: failed_urls.append(answer.url) if answer.status >= 400 else None)
    pages = paths(site, tmp_path)[third::3]
    assert [text for path in pages for text in check(page, path)] == []
    assert failed_urls == [f"{site.base}/nothing"] * pages.count("/nothing")


def test_what_floats_over_the_board_is_accessible_too(site: BoardSite, tab: Tab) -> None:
    page = tab(reduced_motion="reduce")

    def check_floats() -> list[str]:
        return list(page_rules.find_violations_in_both_themes(page, "dark"))

    page_rules.open_page(page, "/board?view=columns")
    page_rules.resize(page, page_rules.DESK)
    offences = check_floats()  # without a ticket: what to do first
    site.ticket(assigned_to=None)
    page.locator("[data-select]").check()  # the first ticket takes the place of the first steps by itself
    page.get_by_text("Move", exact=True).click()
    offences += check_floats()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.locator("#ticket-dialog summary", has_text="More").click()
    page.locator("#ticket-dialog summary").last.click()
    offences += check_floats()
    page.goto("/board?view=lanes")
    for key, dialog in (("l", "#property-dialog"), ("Space", "#peek-dialog")):
        wait_until_live(page)
        page.locator("[data-card] .title").focus()
        page.keyboard.press(key)
        expect(page.locator(f"{dialog} h2")).to_be_visible()
        offences += check_floats()
        page.keyboard.press("Escape")
    assert offences == []


def test_at_four_times_the_size_what_is_written_in_is_not_covered(site: BoardSite, tab: Tab) -> None:
    ticket = site.ticket()
    page = tab(viewport={"width": 320, "height": 256})
    page.goto(f"/ticket/{ticket}")
    page.locator("#say").click()
    page.keyboard.type("Read by everybody.")
    page.get_by_role("button", name="Comment").click()
    expect(page.locator("#entries")).to_contain_text("Read by everybody.")
    overlap_script = "document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('.composer, .bottom, .topbar')"
    page.evaluate("scrollTo(0, 300)")
    assert page.evaluate(overlap_script) is None
