"""The address of the board for browsers: who is sent its cookie, what other addresses serve, and proving who is there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from database import writing
from models import Login, now
from tests.waiting import wait_until
from tests.web.served_board import HOST
from tickets.operations import tokens
from workers.host import loopback

from .conftest import BoardSite, Tab
from .test_live_pages import go

pytestmark = pytest.mark.browser

PLACE_FORMER_STATE = """async (instance) => {
  localStorage.setItem(`mc.${instance}.draft.MC-1`, '[["body","half a thought"]]');
  localStorage.setItem(`mc.${instance}.draft.MC-2`, "nonsense");
  await (await caches.open(`mc.${instance}.pages`)).put("/board", new Response("the board as it was"));
  await navigator.serviceWorker.register("/worker.js");
}"""
FORMER_STATE_IS_GONE = """async () =>
  !(await caches.keys()).length && !(await navigator.serviceWorker.getRegistrations()).length"""


class ForeignServer(ThreadingHTTPServer):
    """Another server of this machine, which notes the cookies that browsers send it."""

    def __init__(self, address: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.cookies: list[str] = []
        super().__init__((address, 0), ForeignHandler)


class ForeignHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, ForeignServer)
        if self.path == "/":
            self.server.cookies.append(self.headers.get("Cookie", ""))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Write nothing."""


@contextmanager
def foreign_server(address: str) -> Iterator[ForeignServer]:
    with ForeignServer(address) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def test_only_who_knows_the_secret_name_is_sent_the_cookie(site: BoardSite, page: Page) -> None:
    """Regression: on 127.0.0.1 any other port was sent the cookie, and could issue itself a token."""
    go(page, "/board")
    [cookie] = page.context.cookies(site.base)
    secret = f"{cookie['name']}={cookie['value']}"
    if not loopback.has_ipv6():
        pytest.skip("no IPv6 loopback on this machine")
    with foreign_server("127.0.0.1") as server, foreign_server("::1") as server_6:
        addresses = [f"http://{name}:{server.server_port}/" for name in ("127.0.0.1", "localhost", "other.localhost")]
        for address in (*addresses, f"http://[::1]:{server_6.server_port}/"):
            page.goto(address)
        assert (server.cookies, server_6.cookies) == ([""] * 3, [""])

        page.goto(f"http://{HOST}:{server.server_port}/")
        page.goto(f"http://{HOST}:{server_6.server_port}/")
        assert secret in server.cookies[-1], "cookies ignore ports, so the name has to be a secret"
        assert secret in server_6.cookies[-1], "and both loopback addresses have to be the board's"


def test_the_former_address_logs_nobody_in_and_hands_over_what_a_browser_keeps_there(site: BoardSite, tab: Tab) -> None:
    page, settings = tab(service_workers="allow"), site.app.extensions["mission_control"].settings
    former = f"http://127.0.0.1:{urlsplit(site.base).port}"
    page.goto(f"{former}/board")
    expect(page.get_by_role("heading")).to_have_text("Open the board with bin/mc login")
    page.evaluate(PLACE_FORMER_STATE, settings.instance)
    page.wait_for_function(FORMER_STATE_IS_GONE)
    page.reload()
    expect(page.get_by_text("are still in this browser")).to_be_visible()

    page.goto(f"{site.base}/settings")
    page.evaluate(f"localStorage.setItem('mc.{settings.instance}.draft.MC-3', '[]')")
    link = page.get_by_role("link", name="Copy drafts")
    address = link.get_attribute("href") or ""
    link.click()
    expect(page.get_by_role("status")).to_have_text("1 draft was copied.")
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('draft')).sort()") == [
        f"mc.{settings.instance}.draft.MC-1",
        f"mc.{settings.instance}.draft.MC-3",
    ]
    page.goto(address.replace(HOST, "evil.localhost"))
    expect(page.get_by_role("heading")).to_have_text("Open the board with bin/mc login")
    page.goto(f"{former}/board")
    expect(page.get_by_text("are still in this browser")).to_be_hidden()


def test_an_old_log_in_proves_who_is_there_and_loses_nothing_that_was_entered(site: BoardSite, page: Page) -> None:
    ticket = site.ticket()
    make_login_old(site)
    go(page, f"/ticket/{ticket}/move/park")
    page.get_by_label("Wakes", exact=True).select_option("probe")
    page.get_by_label("Command").fill("test -f /tmp/done")
    page.locator(".move-form button.primary").click()
    dialog = page.get_by_role("dialog", name="Confirm access")
    dialog.get_by_label("Login link or access token").fill("mc_wrong")
    dialog.get_by_role("button", name="Confirm").click()
    expect(dialog.get_by_role("alert")).to_contain_text("neither a valid token")
    dialog.get_by_label("Login link or access token").fill(site.token)
    dialog.get_by_role("button", name="Confirm").click()
    expect(dialog).to_be_hidden()
    wait_until(lambda: site.load_ticket(ticket)["status"] == "waiting", 30, "the form that was sent again")
    assert site.load_ticket(ticket)["wake"]["probe"] == ["test", "-f", "/tmp/done"]

    make_login_old(site)
    with writing(site.store) as session:
        link = f"{site.base}/login/{tokens.issue_login_link(session)}"
    page.goto("/settings")
    page.get_by_label("Token name").fill("laptop")
    page.get_by_role("button", name="Create token").click()
    page.get_by_label("Login link or access token").fill(link)
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Copy the token laptop now.")).to_be_visible()


def make_login_old(site: BoardSite) -> None:
    with writing(site.store) as session:
        session.execute(update(Login).values(created=now() - timedelta(minutes=31), proof_at=None))
