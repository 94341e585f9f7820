"""Whatever text people, agents and programs send, pages show it as text: nothing of it runs, and nothing is asked of another host."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from database import writing
from models import HealthStatus, TaskOutcome, Trigger, now
from tests.waiting import wait_until
from tests.workers.repositories import commit, create_repository, git
from tickets.board import columns, saved_views
from tickets.conversation import context, timeline
from tickets.lifecycle import transitions
from tickets.operations import health, incidents
from tickets.operations.health_check import HealthCheck
from tickets.planning import phase_editing
from tickets.schedule import tasks
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_run, get_ticket
from tickets.team import agents, projects
from tickets.workflow import evidence, item_evidence, quarantine

from .conftest import OPERATOR, BoardSite, OpenContext, record_errors
from .test_live_pages import go

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CORPUS = (Path(__file__).parent / "hostile.txt").read_text("utf-8").splitlines()
ALL = "\n\n".join(CORPUS)
PLANTED = """() => {
  const named = /^on|^(data-)?hx-|^srcdoc$/;
  const leads = /^(javascript|vbscript|data):/i;
  const addresses = ["href", "src", "action", "formaction", "data-live"];
  const isBad = ({ name, value }) => named.test(name) || (addresses.includes(name) && leads.test(value));
  const hostile = "object, embed, base, script:not([src]), meta[http-equiv], style, audio, video, form[action*='canary.test']";
  return [...document.querySelectorAll("*")]
    .filter((element) => [...element.attributes].some(isBad) || element.matches(hostile))
    .map((element) => element.outerHTML.slice(0, 120));
}"""
"""Elements that only markup in the text could have made."""


class WatchedPage:
    """A tab in which nothing hostile may happen."""

    def __init__(self, site: BoardSite, context: BrowserContext) -> None:
        self.page = context.new_page()
        self.strange: list[str] = []
        context.on("request", lambda sent: self._note(site, sent.url))
        context.on("dialog", lambda dialog: self.strange.append(f"dialog {dialog.message}"))

    def _note(self, site: BoardSite, address: str) -> None:
        if not address.startswith((site.base, "data:", "blob:", site.base.replace("http", "ws"))):
            self.strange.append(address)

    def look(self, path: str) -> None:
        """Load a page, unfold all of it, and see that nothing came of the text in it."""
        self.page.goto(path)
        self.page.wait_for_selector("html[data-js]")
        self.page.evaluate("for (const each of document.querySelectorAll('details:not([data-menu])')) each.open = true")
        self.settle(path)

    def settle(self, path: str) -> None:
        self.page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50)))")
        assert self.page.evaluate("[typeof __hit, self.__hit]") == ["undefined", None], path
        assert self.page.evaluate(PLANTED) == [], path
        assert self.strange == [], path


@pytest.fixture
def watched_page(site: BoardSite, open_context: OpenContext) -> WatchedPage:
    """With the content policy in force: what would run without it is reported in the console, which fails the test."""
    return WatchedPage(site, open_context())


def test_the_content_policy_reports_what_it_stops(site: BoardSite, chromium: Browser) -> None:
    """The other tests of this file rely on it: hostile markup that the policy stops is not silent."""
    with chromium.new_context(base_url=site.base, service_workers="block") as context:
        complaints: list[str] = []
        record_errors(context, complaints)
        page = context.new_page()
        page.goto("/login")
        page.evaluate(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=__hit=1><a href=javascript:__hit=1>x')"
        )
        page.locator("a", has_text="x").last.click()
        wait_until(lambda: page.evaluate("0") == 0 and len(complaints) >= 2, description="both in the console")
        assert page.evaluate("[typeof __hit, self.__hit]") == ["undefined", None]
        assert len(page.evaluate(PLANTED)) == 2


def plant(site: BoardSite, folder: Path) -> list[str]:
    """The corpus in every place that takes text; the addresses of the pages that show it."""
    ticket = site.ticket(
        title="Everything",
        description=ALL,
        acceptance=[{"text": line} for line in CORPUS[:20]],
        tags=["bug"],
    )
    with writing(site.store) as session:
        phases = [{"name": line, "choices": CORPUS[:8], "runbook": line} for line in CORPUS[:3]]
        phase_editing.begin_workflow(
            session,
            get_ticket(session, ticket),
            phase_editing.BeginWorkflow.model_validate({"phases": phases}),
            OPERATOR,
        )
    for line in CORPUS:
        site.ticket(title=line, assigned_to=None)
    run = site.claim(ticket)
    say_everything(site, run)
    change(site, run, folder)
    with writing(site.store) as session:
        fill(session, ticket, run)
    upload(site, ticket)
    logs = site.app.extensions["mission_control"].settings.logs_dir
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "web.log").write_text("\n".join(CORPUS))
    tabs = ("conversation", "changes", "changes&view=split", f"runs&run={run}", "evidence", "events", "events&at=30")
    return [
        "/", "/board", "/activity", "/health", "/tasks", "/incidents", "/team", "/settings", "/ticket/new",
        "/logs", "/logs?kind=agent.", "/logs?show=web", "/logs?show=heartbeats", "/search?q=__hit",
        f"/ticket/{ticket}/print", f"/ticket/{ticket}/operator", f"/ticket/{ticket}/workflow",
        *(f"/ticket/{ticket}?tab={tab}" for tab in tabs),
    ]  # fmt: skip


def say_everything(site: BoardSite, run: int) -> None:
    """What an agent may say, in each kind of event."""
    choices = [{"label": line, "detail": line} for line in CORPUS]
    site.tell(run, "agent.text", block="b1", text=ALL)
    site.tell(run, "agent.thinking", block="b2", text=ALL, seconds=2)
    site.tell(run, "agent.delta", block="b9", kind="text", offset=0, text=ALL)
    for number, line in enumerate(CORPUS):
        call = f"k{number}"
        site.tell(run, "agent.tool_call", call=call, name=line, input={"command": line, line: line}, title=line)
        site.tell(run, "agent.tool_result", call=call, output=line, error=number % 2 == 0, exit_code=1, seconds=1)
    site.tell(run, "agent.approval", request="r1", tool=CORPUS[1], input={"command": ALL}, title=ALL, reason=ALL)
    site.tell(run, "agent.question", request="q1", questions=[{"text": ALL, "header": ALL, "choices": choices}])
    site.tell(run, "agent.notice", text=ALL, level="warning")
    site.tell(run, "agent.progress", text=ALL)
    site.tell(run, "script.step", text=ALL, title=ALL)
    site.tell(run, "agent.result", outcome=ALL, text=ALL)


def change(site: BoardSite, run: int, folder: Path) -> None:
    """A diff of hostile lines in files of hostile names."""
    names = {f"n{number} {line.replace('/', '_')}"[:200]: ALL for number, line in enumerate(CORPUS)}
    repo = create_repository(folder / "repository", greet="echo Hello\n")
    base = git(repo, "rev-parse", "HEAD")
    git(repo, "switch", "--quiet", "--create", "mc/greet")
    for name, text in names.items():
        (repo / name).write_text(text)
    git(repo, "add", "--all")
    commit(repo, CORPUS[1], greet=ALL)
    site.worked_in(run, repo, base)


def fill(session: Any, ticket: str, run: int) -> None:
    """What people, timers and programs say about a ticket and the machine."""
    number = get_ticket(session, ticket).id
    timeline.add_comment(session, number, timeline.NewComment(body=ALL), OPERATOR)
    for place, line in enumerate(CORPUS):
        link = context.NewContext(path=f"notes/{place}.md", title=line[:200], note=line)
        context.add_context(session, number, link, OPERATOR)
        saved_views.save_view(session, line, f"q={place}x", OPERATOR) if place < 10 else None
        incidents.raise_incident(session, f"check-{place}", line, line)
    work_run = get_run(session, run)
    check = {"argv": [CORPUS[0]], "exit_code": 2, "seconds": 1.0, "sha256": "ab", "tail": ALL}
    evidence.record_observations(
        session, work_run, {"check": check, "check_base": check, "workspace": {"branch": CORPUS[1]}}
    )
    proofs = [{"kind": kind, "ref": line} for line in CORPUS for kind in ("event", "diff")]
    claims = [{"text": proof["ref"], "kind": "claim", "item": 0, "proof": proof} for proof in proofs]
    item_evidence.record_claims(session, work_run, claims)
    quarantine.store_payload(session, work_run, "report", ALL, {"summary": ALL})
    closed_incident = incidents.raise_incident(session, "closed", CORPUS[1], ALL)
    incidents.close_incident(session, closed_incident.id, ALL, OPERATOR)
    projects.add_project(
        session, projects.NewProject(slug="bad", name=CORPUS[1], folder="/tmp/" + CORPUS[2][:30]), OPERATOR
    )
    agents.add_agent(session, agents.NewAgent.model_validate({"name": "bad", "title": CORPUS[1]}), OPERATOR)
    blocked = transitions.create_ticket(session, NewTicket(title="Blocked"), OPERATOR)
    facts: dict[str, Any] = {"reason": "needs_human", "owner": "bad", "next_action": ALL}
    transitions.transition(session, blocked.id, "block", OPERATOR, **facts)
    tasks.record_run(session, "backup", Trigger.TIMER, TaskOutcome.FAILED, now(), exit_code=1, output_tail=ALL)
    tasks.record_heartbeat(session, "scheduler", "ok", '{"problems": ["<img src=x onerror=__hit=1>"]}')
    health.store_results(session, "", [HealthCheck("ticket-pickup", HealthStatus.FAILED, ALL, ALL)])


def upload(site: BoardSite, ticket: str) -> None:
    """Files whose names are hostile."""
    client = site.app.test_client()
    for line in CORPUS[:20]:
        file = (io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"0" * 32), f"{line.replace('/', '_')}.png")
        headers = {"Authorization": f"Bearer {site.token}"}
        form = {"file": file, "summary": line}
        client.post(f"/api/v1/tickets/{ticket}/attachments", data=form, headers=headers, base_url=site.base)


def test_no_place_turns_text_into_more_than_text(site: BoardSite, watched_page: WatchedPage, tmp_path: Path) -> None:
    for path in plant(site, tmp_path):
        watched_page.look(path)
        expect(watched_page.page.locator("body")).to_contain_text("__hit=1")


def test_what_arrives_while_the_page_is_open_is_text_as_well(site: BoardSite, watched_page: WatchedPage) -> None:
    ticket = site.ticket()
    run = site.claim(ticket)
    go(watched_page.page, f"/ticket/{ticket}")
    site.tell(run, "agent.delta", block="b9", kind="text", offset=0, text=ALL)
    expect(watched_page.page.locator("#typing")).to_contain_text("__hit=1")
    watched_page.settle("typing")
    say_everything(site, run)
    expect(watched_page.page.locator("#entries")).to_contain_text("__hit=1")
    watched_page.settle("news")
    watched_page.page.evaluate("document.title = 'x'")
    go(watched_page.page, "/board?view=columns")
    for line in CORPUS:
        site.ticket(title=line, assigned_to=None)
    expect(watched_page.page.locator("#column-todo .card")).to_have_count(columns.FIRST_PAGE_SIZE)
    watched_page.page.locator("#column-todo").get_by_role("link", name="Load more").click()
    shown = min(len(CORPUS), columns.FIRST_PAGE_SIZE + columns.PAGE_SIZE)
    expect(watched_page.page.locator("#column-todo .card")).to_have_count(shown)
    expect(watched_page.page.locator(f"#card-{ticket} .status-reason")).to_contain_text("__hit=1")
    other = site.ticket()
    work_run = site.claim(other)
    site.tell(work_run, "agent.tool_call", call="last", name="Bash", input={}, title=CORPUS[1])
    expect(watched_page.page.locator(f"#card-{other} [data-live-line]")).to_contain_text("__hit=1")
    watched_page.settle("the board's news")


def test_addresses_drafts_and_the_palette_show_what_they_are_given_as_text(
    site: BoardSite, watched_page: WatchedPage
) -> None:
    for line in CORPUS:
        site.ticket(title=line, assigned_to=None)
    page = watched_page.page
    lines = (CORPUS[1], CORPUS[3], CORPUS[-1])
    for path in ("/search?q=", "/board?q=", "/activity?actor=", "/logs?kind="):
        watched_page.look(path + quote(" ".join(lines), safe=""))
    for path in ("/ticket/", "/login?next="):
        for line in lines:
            watched_page.look(path + quote(line, safe=""))
    ticket = site.ticket(title=CORPUS[1])
    go(page, f"/ticket/{ticket}")
    page.locator("#say").fill(ALL)
    page.reload()
    expect(page.locator("#say")).to_have_value(ALL)
    page.keyboard.press("Control+k")
    page.keyboard.type("onerror")
    expect(page.get_by_role("group", name="Tickets").get_by_role("option").first).to_contain_text("onerror")
    watched_page.settle("palette")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Comment").click()
    expect(page.locator("#entries")).to_contain_text("__hit=1")
    watched_page.settle("sent")
