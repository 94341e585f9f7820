"""The board without its server: what was visited is shown as a copy, nothing else is kept, and nothing typed is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Worker, expect

from database import writing
from tests.streams.conftest import ALICE
from tests.waiting import wait_until
from tests.web.served_board import HOST, Stage, staged
from tickets.operations import incidents, tokens

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("offline")]

BANNER = "[data-offline]"
KEPT = """async () => {
  const found = {};
  for (const name of await caches.keys()) {
    const cache = await caches.open(name);
    for (const request of await cache.keys()) {
      const { pathname, search } = new URL(request.url);
      if (!pathname.startsWith("/static/")) found[pathname + search] = await (await cache.match(request)).text();
    }
  }
  return found;
}"""
MANY = """async () => {
  const page = () => new Response("<html >", { headers: { "Content-Type": "text/html" } });
  for (let n = 0; n < 70; n++) await cachePage(`${location.origin}/board?q=${n}`, page());
  await cachePage(`${location.origin}/board?q=20`, page());
}"""

OLD_MODULE = """() => {
  const address = document.querySelector("script[src$='/app.js']").src.replace("app.js", "console.js");
  return fetch(address).then((answer) => answer.ok && "loaded");
}"""
"""A part that an open tab had not needed before."""


@pytest.fixture(scope="module")
def shared_board(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("board") / "home"
    with staged(template, home, WS_MAX_CLIENTS=8, MC_TRUSTED_HOSTS="board.test") as board:
        yield board


@pytest.fixture
def board(shared_board: Stage) -> Stage:
    """The server of this module, started again if the last test has left it killed."""
    if not shared_board.answers():
        shared_board.start()
    return shared_board


def install(visit: Visit, path: str = "/board", name: str = "alice") -> Page:
    """A tab whose pages are kept from now on."""
    page = visit(name, path, service_workers="allow")
    wait_until(lambda: page.evaluate("navigator.serviceWorker.controller !== null"), 30, "a worker in control")
    go(page, path)
    return page


def go(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.locator("#connection")).to_have_attribute("data-link", "live")


def list_file_versions(page: Page) -> list[str]:
    return [name.rsplit(".", 1)[1] for name in page.evaluate("caches.keys()") if ".files." in name]


def read_cached_pages(page: Page) -> dict[str, str]:
    pages: dict[str, str] = page.evaluate(KEPT)
    return pages


def worker_of(page: Page) -> Worker:
    wait_until(lambda: page.context.service_workers, description="the service worker")
    return page.context.service_workers[0]


def is_away(page: Page) -> None:
    expect(page.locator(BANNER)).to_be_visible(timeout=30_000)
    expect(page.locator(BANNER)).to_contain_text("You're offline — showing cached data as of")
    expect(page.locator("#connection")).to_contain_text("Offline")


def test_pages_that_were_visited_are_shown_and_come_back_to_life_by_themselves(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    page = install(visit)
    page.goto(f"/ticket/{name}")
    page.goto("/")
    board.kill()

    page.goto(f"/ticket/{name}?tab=changes")
    is_away(page)
    expect(page.locator(".ticket h1")).to_contain_text(name)
    page.goto("/board")
    is_away(page)
    expect(page.locator(f"#card-{name}")).to_be_visible()
    page.evaluate("document.documentElement.dataset.same = ''")
    _, new_ticket = board.ticket(title="Made in the meantime")
    board.start()

    expect(page.locator(BANNER)).to_be_hidden(timeout=30_000)
    expect(page.locator(f"#card-{new_ticket}")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-same", "")
    page.get_by_label(f"Actions for {new_ticket}").click()
    page.locator(f"#card-{new_ticket}").get_by_role("button", name="Cancel").click()
    expect(page.locator(f"#card-{new_ticket}")).to_have_count(0)


def test_what_is_written_on_a_copy_stays_when_it_comes_back_to_life(board: Stage, visit: Visit) -> None:
    with writing(board.engine) as session:
        incidents.raise_incident(session, "tmux", "tmux does not answer")
    page = install(visit, "/incidents")
    board.kill()
    page.goto("/incidents")
    is_away(page)
    page.get_by_text("Close…").click()
    page.get_by_label("Evidence that the cause is fixed").fill("It answers")
    with writing(board.engine) as session:
        incidents.raise_incident(session, "disk", "The disk is full")
    board.start()
    expect(page.get_by_role("heading", name="The disk is full")).to_be_visible(timeout=30_000)
    text_field = page.locator(".incident", has_text="tmux").get_by_label("Evidence that the cause is fixed")
    expect(text_field).to_have_value("It answers")
    page.locator(".incident", has_text="tmux").get_by_role("button", name="Close").click()
    expect(page.locator(".flashes")).to_contain_text("The incident is closed.")


def test_a_page_that_is_open_says_when_its_server_is_gone_and_catches_up(board: Stage, visit: Visit) -> None:
    board.ticket()
    page = install(visit)
    page.evaluate("document.documentElement.dataset.same = ''")
    board.kill()
    is_away(page)
    _, name = board.ticket()
    board.start()
    expect(page.locator(BANNER)).to_be_hidden(timeout=30_000)
    expect(page.locator(f"#card-{name}")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-same", "")


def test_a_page_that_was_never_visited_has_one_that_says_so_and_gives_way(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    page = install(visit)
    board.kill()
    page.goto(f"/ticket/{name}")
    expect(page.get_by_role("heading", name="You're offline")).to_be_visible()
    expect(page.locator("[data-when=unvisited]")).to_be_visible()
    expect(page.get_by_role("link", name="Board")).to_be_visible()
    board.start()
    expect(page.locator("#entries")).to_be_attached(timeout=30_000)


def test_nothing_is_kept_but_the_pages_named(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    page = install(visit)
    pages = ["/", "/activity", "/tasks", "/team", "/incidents", f"/ticket/{name}", f"/ticket/{name}?tab=runs"]
    others = ["/settings", "/settings/projects/new", "/ticket/new", f"/ticket/{name}/move/block", "/search?q=talk"]
    others += ["/logs", "/api/docs", "/health", "/team/agents/new", "/nothing", f"/ticket/{name}/part/header"]
    others += ["/api/v1/tickets", "/api/v1/tokens", f"/board/column/todo?q={name}"]
    for path in [*pages, *others]:
        page.goto(path)
    page.goto("/board")
    wait_until(lambda: set(read_cached_pages(page)) == {"/offline", "/board", *pages}, description="the copies")
    tokens_kept = {
        token for text in read_cached_pages(page).values() for token in re.findall(r'name="csrf" \w+="([^"]*)"', text)
    }
    assert tokens_kept == {""}


def test_the_number_of_copies_has_a_bound_and_the_oldest_go_first(board: Stage, visit: Visit) -> None:
    page = install(visit)
    worker_of(page).evaluate(MANY)
    copies = [path for path in read_cached_pages(page) if path != "/offline"]
    assert copies == [f"/board?q={n}" for n in (*(n for n in range(10, 70) if n != 20), 20)][-60:]


def test_logging_out_leaves_nothing(board: Stage, visit: Visit) -> None:
    page = install(visit)
    other_tab = page.context.new_page()
    go(other_tab, "/activity")
    page.get_by_label("View and account").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    expect(other_tab).to_have_url(re.compile(r"/login\?next=%2Factivity$"), timeout=30_000)
    wait_until(lambda: page.evaluate("caches.keys()") == [], description="empty caches")


def test_a_log_in_that_was_revoked_leaves_nothing(board: Stage, visit: Visit) -> None:
    page = install(visit, name="carol")
    with writing(board.engine) as session:
        row = next(token for token in tokens.list_tokens(session) if token.name == "carol")
        tokens.revoke_token(session, row.id, ALICE)
    page.goto("/board")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    wait_until(
        lambda: not any("pages" in name for name in page.evaluate("caches.keys()")), description="no copies of pages"
    )


def test_a_form_is_kept_while_nobody_is_there_to_take_it(board: Stage, visit: Visit) -> None:
    with writing(board.engine) as session:
        incidents.raise_incident(session, "clock", "The clock is wrong")
    page = install(visit, "/incidents")
    incident = page.locator(".incident", has_text="The clock is wrong")
    incident.get_by_text("Close…").click()
    words = incident.get_by_label("Evidence that the cause is fixed")
    words.fill("It answers")
    board.kill()
    incident.get_by_role("button", name="Close").click()
    expect(page.locator("[data-when=unsent]")).to_be_visible(timeout=30_000)
    board.start()
    expect(page.locator("[data-told]")).to_contain_text("Mission Control is back", timeout=30_000)
    page.get_by_role("button", name="Go back").click()
    expect(words).to_have_value("It answers")

    board.kill()
    is_away(page)
    incident.get_by_role("button", name="Close").click()
    expect(page.locator(".flashes")).to_contain_text("Your text is saved here")
    expect(words).to_have_value("It answers")

    board.start()
    expect(page.locator(BANNER)).to_be_hidden(timeout=30_000)
    incident.get_by_role("button", name="Close").click()
    expect(page.locator("main")).to_contain_text("It answers")
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.includes('draft'))") == []


def test_a_ticket_is_kept_while_nobody_is_there_to_take_it(board: Stage, visit: Visit) -> None:
    page = install(visit, "/ticket/new")
    page.get_by_label("Title").fill("Written on a train")
    board.kill()
    is_away(page)
    page.get_by_role("button", name="Create and open").click()
    expect(page.locator("#ticket-form [data-error]")).to_contain_text("is unreachable")
    expect(page.get_by_label("Title")).to_have_value("Written on a train")

    board.start()
    expect(page.locator(BANNER)).to_be_hidden(timeout=30_000)
    page.get_by_role("button", name="Create and open").click()
    expect(page.locator("#ticket-head")).to_contain_text("Written on a train")
    page.goto("/ticket/new")
    expect(page.get_by_label("Title")).to_have_value("")


def test_another_release_takes_over_without_disturbing_an_open_tab(board: Stage, visit: Visit) -> None:
    _, name = board.ticket()
    page = install(visit, f"/ticket/{name}")
    page.evaluate("document.documentElement.dataset.same = ''")
    page.locator("#say").fill("half a word")
    board.kill()
    is_away(page)
    board.start(MC_TEST_RELEASE="222222222222")

    expect(page.locator(".flashes")).to_contain_text("Mission Control was updated", timeout=30_000)
    expect(page.locator("html")).to_have_attribute("data-same", "")
    expect(page.locator("#say")).to_have_value("half a word")
    board.report_verdict(name, "question")
    expect(page.locator("#ticket-head .state")).to_have_text("Needs input")
    wait_until(lambda: list_file_versions(page) == ["222222222222"], 20, "the removal of the old release's files")
    assert page.evaluate(OLD_MODULE) == "loaded"
    page.get_by_role("link", name="Reload").click()
    expect(page.locator("script[src^='/static/222222222222/'][src$='/app.js']")).to_be_attached()


def test_on_plain_http_off_the_loopback_the_board_works_without_being_an_app(board: Stage, chromium: Browser) -> None:
    page = chromium.new_context(base_url=f"http://board.test:{board.port}").new_page()
    page.goto("/login")
    page.fill("[name=token]", board.person("alice"))
    page.click("button")
    go(page, "/board?view=list")  # a lane shows its first tickets alone
    assert page.evaluate("[isSecureContext, 'serviceWorker' in navigator]") == [False, False]
    _, name = board.ticket()
    expect(page.locator(f"#card-{name}")).to_be_visible()
    page.context.close()


def test_the_manifest_names_the_board_and_all_it_names_exists(board: Stage) -> None:
    manifest = json.loads(board.get("/manifest.webmanifest", HOST))
    assert manifest["name"] == f"Mission Control (127.0.0.1:{board.port})" and board.settings.instance in manifest["id"]
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    assert all(board.get(icon["src"]) for icon in manifest["icons"])
    assert [shortcut["url"] for shortcut in manifest["shortcuts"]] == ["/board", "/ticket/new", "/#needs-you"]
