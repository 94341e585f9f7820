"""No page of another site reaches anything: the matrix is made from the route table, so a new route cannot escape it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, select
from werkzeug.routing import Rule

import auth
from database import reading
from models import TicketEvent
from settings import Settings

from .conftest import OWN_PAGE, PLAIN, Api, Worker, csrf_token, form_token

SAFE = {"GET", "HEAD", "OPTIONS"}

HOSTILE = {
    "foreign origin": {"Origin": "https://evil.example"},
    "foreign site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "same site": {"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"},
    "same site that hides its origin": {"Sec-Fetch-Site": "same-site"},
    "another port": {"Origin": "http://SECRET:8080"},
    "another scheme": {"Origin": "https://SECRET"},
    "the plain address": {"Origin": "http://localhost"},
    "no origin to tell": {"Origin": "null"},
    "an origin that begins like ours": {"Origin": "http://SECRET.evil.example"},
    "signs that contradict each other": {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    "typed by hand": {"Sec-Fetch-Site": "none"},
    "no sign at all": {},
}
WRONG_HOSTS = ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io:3001", "localhost:3001@evil.example")


@pytest.fixture
def url(template: Path, tmp_path: Path) -> Iterator[str]:
    """No store but SQLite: what is refused here never reaches one."""
    shutil.copy(template, tmp_path / "mc.db")
    yield f"sqlite:///{tmp_path / 'mc.db'}"


def addresses(app: Flask, is_unsafe: bool) -> list[tuple[str, str]]:
    """Every route with each of its methods that is unsafe (or that is safe), its parameters filled in."""
    pairs = []
    for rule in app.url_map.iter_rules():
        methods = set(rule.methods or ()) - SAFE if is_unsafe else set(rule.methods or ()) & {"GET"}
        pairs += [(method, build_address(rule)) for method in sorted(methods)]
    return pairs


def build_address(rule: Rule) -> str:
    """An address that the rule matches: "1" fits every argument but those that are one of some words."""
    values = {name: next(iter(getattr(rule._converters[name], "items", {"1"}))) for name in rule.arguments}
    address = rule.build(values, append_unknown=False)
    assert address is not None
    return address[1]


def hostile_headers(app: Flask) -> dict[str, dict[str, str]]:
    host = app.extensions["mission_control"].secret_host
    return {
        name: {header: value.replace("SECRET", host) for header, value in headers.items()}
        for name, headers in HOSTILE.items()
    }


def events_logged(store: Engine) -> int:
    with reading(store) as session:
        return session.scalar(select(func.count()).select_from(TicketEvent)) or 0


def test_no_unsafe_route_is_reached_from_another_site(
    app: Flask, browser: FlaskClient, store: Engine, worker: Worker
) -> None:
    routes, before = addresses(app, True), events_logged(store)
    csrf = form_token(browser, "/board")
    assert len(routes) > 20
    for method, path in routes:
        for name, headers in hostile_headers(app).items():
            answer = browser.open(path, method=method, data={"csrf": csrf}, headers=headers)
            assert answer.status_code == 403, f"{method} {path} was reached by {name}"
    assert events_logged(store) == before


def test_a_signature_reaches_hooks_alone_and_never_from_a_page(
    app: Flask, browser: FlaskClient, store: Engine, worker: Worker
) -> None:
    """Programs that sign their requests bring no log-in and no origin. The hook itself verifies the signature."""
    signature, before = {"webhook-signature": "v1,x"}, events_logged(store)
    foreign = signature | {"Origin": "https://evil.example"}
    for headers, reached in ((signature, {"/hooks/1"}), (foreign, set()), (signature | OWN_PAGE, set())):
        answers = {path: browser.open(path, method=method, headers=headers) for method, path in addresses(app, True)}
        assert {path for path, answer in answers.items() if answer.status_code != 403} == reached, headers
    assert app.test_client().post("/hooks/1", headers=signature, base_url=PLAIN).status_code == 404
    assert events_logged(store) == before


def test_no_route_answers_to_another_name(app: Flask, browser: FlaskClient, operator: Api, store: Engine) -> None:
    before = events_logged(store)
    for method, path in addresses(app, True) + addresses(app, False):
        for host in WRONG_HOSTS:
            headers = {**OWN_PAGE, "Host": host, "Authorization": f"Bearer {operator.token}"}
            answer = browser.open(path, method=method, headers=headers)
            assert answer.status_code == 400, f"{method} {path} answered to {host!r}"
            assert "evil" not in answer.text
    assert events_logged(store) == before


EVERYWHERE = {"/healthz", "/worker.js", "/drafts"}
STRANGE_PATHS = ("/nothing", "/ticket//new", "/board/", "/ticket/MC-999", "/static/0/nothing.css", "/%00")


def test_a_plain_address_serves_no_browser_and_nothing_names_the_secret_one(
    app: Flask, browser: FlaskClient, store: Engine
) -> None:
    instance: auth.Instance = app.extensions["mission_control"]
    cookie = browser.get_cookie(auth.get_cookie_name(instance.settings))
    assert cookie is not None
    browser.set_cookie(cookie.key, cookie.value, domain="127.0.0.1")  # as earlier versions did
    stranger, before = app.test_client(), events_logged(store)
    requests = [*addresses(app, True), *addresses(app, False), *(("GET", path) for path in STRANGE_PATHS)]
    for method, path in requests:
        answers = [
            client.open(path, method=method, base_url=PLAIN, headers={**OWN_PAGE, "Origin": PLAIN})
            for client in (stranger, browser)
        ]
        wrong = {"Authorization": "Bearer mcr_wrong"}
        answers += [stranger.open(path, method=method, base_url=PLAIN, headers=wrong)]
        if path not in EVERYWHERE and not path.startswith("/static/"):
            assert {answer.status_code for answer in answers[:2]} == {401}, f"{method} {path} served a browser"
        answers += [stranger.open(path, method=method, headers=headers) for headers in (OWN_PAGE, {})]
        answers += [stranger.open(path, method=method, headers={"Host": "evil.example"})]
        secret = instance.secret_host.split("-")[-1].removesuffix(".localhost")
        for answer in answers:
            assert secret not in f"{answer.headers}{answer.text}", f"{method} {path} names the secret address"
            cookies = [value for value in answer.headers.getlist("Set-Cookie") if "Max-Age=0" not in value]
            assert cookies == [], f"{method} {path} sets a cookie"
        browser.set_cookie(cookie.key, cookie.value, domain="127.0.0.1")
    with app.test_request_context(base_url=PLAIN, headers={"Cookie": f"{cookie.key}={cookie.value}"}):
        assert auth.identify() is None
    assert events_logged(store) == before


def test_no_form_is_taken_without_its_token(app: Flask, browser: FlaskClient, store: Engine, worker: Worker) -> None:
    before = events_logged(store)
    for method, path in addresses(app, True):
        for token in ("", "0" * 64):
            answer = browser.open(path, method=method, data={"csrf": token}, headers=OWN_PAGE)
            assert answer.status_code == 403, f"{method} {path} was taken with the token {token!r}"
    assert events_logged(store) == before


def test_every_form_of_a_page_carries_the_token_of_its_log_in(browser: FlaskClient, worker: Worker) -> None:
    """All forms of an answer have one masked token, and no part of it is in another answer: none is memoised."""
    ticket, lacking, seen = f"/ticket/{worker.ticket}", [], set()
    tabs = [f"{ticket}?tab={tab}" for tab in ("changes", "evidence", "context")]
    pages = ["/board", "/ticket/new", ticket, *tabs, "/team", "/tasks", "/settings"]
    for path in (*pages, *pages):
        answer = browser.get(path)
        assert answer.status_code == 200, path
        forms = re.findall(r'<form[^>]* method="post".*?</form>', answer.text, re.DOTALL)
        (token,) = set(re.findall(r'name="csrf" (?:value|content)="([^"]+)"', answer.text))
        assert forms and token not in seen, path
        assert auth.unmask_csrf_token(token) == csrf_token(browser) != token, path
        seen.add(token)
        lacking += [f"{path}: {form[:80]}" for form in forms if f'name="csrf" value="{token}"' not in form]
    assert lacking == []


def test_a_masked_token_is_taken_in_a_header_and_so_is_that_of_an_open_tab(browser: FlaskClient) -> None:
    masked = form_token(browser, "/board")
    forged = masked[:-1] + ("0" if masked[-1] != "0" else "1")
    statuses = {masked: 201, csrf_token(browser): 201, forged: 403, masked[64:]: 403, "0" * 128: 403}
    for token, status in statuses.items():
        answer = browser.post("/api/v1/tickets", json={"title": "x"}, headers={**OWN_PAGE, "X-CSRF-Token": token})
        assert answer.status_code == status, token


def test_the_token_of_one_log_in_is_worth_nothing_in_another(app: Flask, browser: FlaskClient, operator: Api) -> None:
    stranger = app.test_client()
    csrf = form_token(stranger, "/login")
    answer = browser.post("/api/v1/tickets", json={"title": "x"}, headers={**OWN_PAGE, "X-CSRF-Token": csrf})
    assert (answer.status_code, answer.json["error"]) == (403, "form_expired")  # type: ignore[index]


def test_a_page_of_our_own_is_let_through(browser: FlaskClient) -> None:
    csrf = form_token(browser, "/board")
    origin = f"http://{browser.application.extensions['mission_control'].secret_host}"
    for headers in ({"Origin": origin}, OWN_PAGE, OWN_PAGE | {"Origin": origin}):
        answer = browser.post("/api/v1/tickets", json={"title": "x"}, headers={**headers, "X-CSRF-Token": csrf})
        assert answer.status_code == 201


def test_a_bearer_needs_no_origin(operator: Api) -> None:
    assert operator.post("/tickets", {"title": "x"}, headers={"Origin": "https://elsewhere.example"}).status_code == 201


def test_websocket_upgrades_need_our_own_origin(app: Flask, browser: FlaskClient) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for _, path in addresses(app, False):
        for name, headers in hostile_headers(app).items():
            if path.startswith("/static/"):
                continue
            answer = browser.get(path, headers=upgrade | headers)
            assert answer.status_code == 403, f"{path} was upgraded by {name}"


def test_a_proxys_public_address_is_our_own(app: Flask, browser: FlaskClient, settings: Settings) -> None:
    instance: auth.Instance = app.extensions["mission_control"]
    csrf = form_token(browser, "/board")
    public = settings.model_copy(update={"behind_tls": True, "public_url": "https://board.example"})
    app.extensions["mission_control"] = replace(instance, settings=public)
    cookie = browser.get_cookie(auth.get_cookie_name(settings))
    assert cookie is not None
    browser.set_cookie(cookie.key, cookie.value, domain="board.example")
    secret = f"http://{instance.secret_host}"
    assert browser.get("/login", base_url=secret).status_code == 400, "the public address takes its place"
    for origin, status in (("https://board.example", 201), ("http://board.example", 403), (secret, 403)):
        headers = {"Origin": origin, "X-CSRF-Token": csrf}
        at = "http://board.example"
        answer = browser.post("/api/v1/tickets", json={"title": "x"}, headers=headers, base_url=at)
        assert answer.status_code == status


def test_every_answer_carries_the_strict_policy(app: Flask, browser: FlaskClient, operator: Api) -> None:
    for path in ("/board", "/login", "/healthz", "/api/v1/tickets", "/nowhere", "/static/0/style.css"):
        headers = browser.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store" or path.startswith("/static/")
