"""Coming in, staying in and being shown out."""

from __future__ import annotations

import re
import stat
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, update

import auth
import database
import secret_files
from database import reading, writing
from models import ApiToken, Login, LoginLink, now
from settings import Settings
from tickets.operations import tokens
from tickets.runs import reports

from .conftest import OWN_PAGE, SYSTEM, Api, Worker, csrf_token, form_token, issue


def link_for(store: Engine) -> str:
    with writing(store) as session:
        return tokens.issue_login_link(session)


def test_nobody_reads_or_writes_without_a_token(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/api/v1/tickets").status_code == 401
    assert client.get("/").location == "/login?next=/"
    assert client.get("/healthz").status_code == 200


def test_a_wrong_token_is_refused_even_beside_a_good_cookie(browser: FlaskClient) -> None:
    assert browser.get("/api/v1/tickets").status_code == 200
    for header in ("Bearer mc_wrong", "Bearer mcr_wrong", "Bearer", "Basic b3BlcmF0b3I6", "nonsense"):
        assert browser.get("/api/v1/tickets", headers={"Authorization": header}).status_code == 401


def test_a_stranger_sends_little_and_takes_no_write_lock(
    app: Flask, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = app.test_client()
    csrf = form_token(client, "/login")
    large = client.post("/login", data={"token": "x" * 20_000, "csrf": csrf}, headers=OWN_PAGE)
    assert large.status_code == 413
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 1)
    with writing(store):
        for field in ("token", "link"):
            answer = client.post("/login", data={field: "mc_invented", "csrf": csrf}, headers=OWN_PAGE)
            assert answer.status_code == 401


def test_pages_answer_while_another_program_has_locked_the_store(
    operator: Api, viewer: Api, browser: FlaskClient, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: each waiting writer held a thread, and a token's use was to be recorded before a page was shown."""
    with writing(store):
        assert viewer.get("/health").status_code == 200
    monkeypatch.setattr(database, "STALL_SECONDS", 0)
    instance = operator.client.application.extensions["mission_control"]
    limit = instance.engine.get_execution_options()["mc_writers"]
    with ExitStack() as waiting_writers:
        for _ in range(instance.settings.writer_limit):
            waiting_writers.enter_context(limit.hold_slot())
        assert operator.get("/health").status_code == browser.get("/board").status_code == 200
        refusal = operator.post("/tickets", {"title": "Later"})
    assert (refusal.status_code, refusal.json and refusal.json["error"]) == (503, "store_unavailable")
    assert operator.post("/tickets", {"title": "Now"}).status_code == 201


def test_looking_at_a_link_does_not_use_it_up(app: Flask, store: Engine) -> None:
    client, link = app.test_client(), link_for(store)
    page = client.get(f"/login/{link}").text
    assert "Log in this browser" in page and "127.0.0.1 mc-" in page, "and the line of /etc/hosts"
    assert client.head(f"/login/{link}").status_code == 200
    form = {"link": link, "csrf": form_token(client, f"/login/{link}")}
    answer = client.post("/login", data=form | {"next": "/board"}, headers=OWN_PAGE)
    assert (answer.status_code, answer.location) == (303, "/board")


@pytest.mark.both_databases
def test_a_link_works_once_and_for_ten_minutes(app: Flask, store: Engine) -> None:
    client, link, late = app.test_client(), link_for(store), link_for(store)
    csrf = form_token(client, "/login")
    assert client.post("/login", data={"link": link, "csrf": csrf}, headers=OWN_PAGE).status_code == 303
    with writing(store) as session:
        session.execute(update(LoginLink).where(LoginLink.consumed.is_(None)).values(expires=now()))
    stranger = app.test_client()
    for link_token in (link, late, "invented"):
        csrf = form_token(stranger, "/login")
        answer = stranger.post("/login", data={"link": link_token, "csrf": csrf}, headers=OWN_PAGE)
        assert answer.status_code == 401 and "Set-Cookie" not in answer.headers
        assert stranger.get(f"/login/{link_token}").status_code == 410


def test_the_cookie_is_private_and_named_for_the_instance(app: Flask, store: Engine, settings: Settings) -> None:
    client = app.test_client()
    form = {"link": link_for(store), "csrf": csrf_token(client)}
    client.post("/login", data=form, headers=OWN_PAGE)
    cookie = client.get_cookie(auth.get_cookie_name(settings))
    assert cookie is not None and settings.instance in cookie.key
    assert cookie.http_only and cookie.same_site == "Lax" and not cookie.secure


def test_behind_tls_the_cookie_is_secure(app: Flask, store: Engine, settings: Settings) -> None:
    instance: auth.Instance = app.extensions["mission_control"]
    behind = settings.model_copy(update={"behind_tls": True, "trusted_hosts": ("board.lan",)})
    app.extensions["mission_control"] = replace(instance, settings=behind)
    client, csrf = app.test_client(), form_token(app.test_client(), "/login")
    for scheme, host, is_secure in (("https", "board.lan", True), ("http", instance.secret_host, False)):
        form = {"link": link_for(store), "csrf": csrf}
        headers = {"Origin": f"{scheme}://{host}"}
        answer = client.post("/login", data=form, headers=headers, base_url=f"http://{host}")
        assert ("Secure" in answer.headers["Set-Cookie"]) is is_secure


def test_logging_in_never_leads_to_another_server(app: Flask, store: Engine) -> None:
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "//["):
        client, link = app.test_client(), link_for(store)
        form = {"link": link, "csrf": csrf_token(client), "next": target}
        assert client.post("/login", data=form, headers=OWN_PAGE).location == "/", target
        assert client.get("/login", query_string={"next": target}).status_code == 200, target


def test_logging_out_ends_the_log_in_and_clears_the_browser(
    browser: FlaskClient, settings: Settings, store: Engine
) -> None:
    cookie = browser.get_cookie(auth.get_cookie_name(settings))
    assert cookie is not None
    answer = browser.post("/logout", data={"csrf": form_token(browser, "/board")}, headers=OWN_PAGE)
    assert answer.status_code == 303 and "storage" in answer.headers["Clear-Site-Data"]
    browser.set_cookie(cookie.key, cookie.value)
    stale = browser.get("/api/v1/tickets")
    assert stale.status_code == 401 and "storage" in stale.headers["Clear-Site-Data"]
    assert browser.get_cookie(cookie.key) is None


def test_a_new_log_in_ends_the_one_that_the_browser_had(
    browser: FlaskClient, settings: Settings, store: Engine
) -> None:
    cookie = browser.get_cookie(auth.get_cookie_name(settings))
    assert cookie is not None
    form = {"link": link_for(store), "csrf": form_token(browser, "/login")}
    assert browser.post("/login", data=form, headers=OWN_PAGE).status_code == 303
    assert browser.get("/api/v1/tickets").status_code == 200
    browser.set_cookie(cookie.key, cookie.value)
    assert browser.get("/api/v1/tickets").status_code == 401


def test_a_log_in_ends_with_its_time(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        session.execute(update(Login).values(expires=now() - timedelta(seconds=1)))
    assert browser.get("/api/v1/tickets").status_code == 401


@pytest.mark.both_databases
def test_half_an_hour_after_the_log_in_a_form_that_gives_access_asks_for_a_proof_and_then_goes_on(
    app: Flask, browser: FlaskClient, store: Engine
) -> None:
    with writing(store) as session:
        session.execute(update(Login).values(created=now() - tokens.PROOF_LIFETIME))
    csrf = csrf_token(browser)
    form = {"csrf": csrf, "name": "laptop", "scope": "viewer", "days": "7", "note": '"<b>"'}

    page = browser.post("/settings/tokens", data=form, headers=OWN_PAGE)
    assert page.status_code == 403
    fields = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    assert fields | {"csrf": csrf} == {**form, "note": "&#34;&lt;b&gt;&#34;", "proof-path": "/settings/tokens"}
    answer = browser.post("/api/v1/tokens", json={}, headers=OWN_PAGE | {"X-CSRF-Token": csrf})
    assert answer.status_code == 422, "it is validated first"
    body = {"name": "laptop", "scope": "viewer"}
    answer = browser.post("/api/v1/tokens", json=body, headers=OWN_PAGE | {"X-CSRF-Token": csrf})
    assert (answer.status_code, answer.json["error"]) == (403, "proof_required")  # type: ignore[index]

    link = link_for(store)
    for secret, status in (("mc_wrong", 401), (issue(store, "viewer"), 403), (issue(store, "service"), 403)):
        again = browser.post("/proof", data=fields | {"proof-secret": secret}, headers=OWN_PAGE)
        assert again.status_code == status and 'value="laptop"' in again.text
    proof = fields | {"proof-secret": f" http://board.lan/login/{link} "}
    answer = browser.post("/proof", data=proof, headers=OWN_PAGE)
    assert (answer.status_code, answer.location) == (307, "/settings/tokens"), "the browser sends the form again"
    assert browser.post("/proof", data=proof, headers=OWN_PAGE).status_code == 307, "its answer may have been lost"
    assert "Copy the token laptop now." in browser.post(answer.location, data=proof, headers=OWN_PAGE).text
    assert app.test_client().get(f"/login/{link}").status_code == 410, "a link proves once"


def test_a_proof_leads_to_no_other_server_and_is_no_business_of_programs(browser: FlaskClient, operator: Api) -> None:
    form = {"csrf": csrf_token(browser), "proof-secret": operator.token, "proof-path": "//evil.example/settings"}
    assert browser.post("/proof", data=form, headers=OWN_PAGE).location == "/"
    headers = {"Authorization": f"Bearer {operator.token}"}
    assert operator.client.post("/proof", data=form, headers=headers).status_code == 403


def test_drafts_are_taken_from_a_plain_address_of_this_board_alone(
    app: Flask, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = browser.get("/settings").text.split('href="http://127.0.0.1/drafts#')[1].split('"')[0]
    path = link.removeprefix(f"http://{app.extensions['mission_control'].secret_host}")
    drafts = {"drafts": '"><script>' + "x" * 20_000}

    def post(path: str, origin: str) -> int:
        answer = app.test_client().post(path, data=drafts, headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
        assert "<script>x" not in answer.text and "Set-Cookie" not in answer.headers
        return answer.status_code

    assert post(path, "http://127.0.0.1") == post(path, "http://[::1]") == 200
    for origin in ("http://127.0.0.1:8080", "https://127.0.0.1", "http://evil.example", "null", "http://["):
        assert post(path, origin) == 403, origin
    later = path.replace(path.split("/")[2].split(".")[0], "99999999999")
    for other in (later, path + "0", "/drafts/1", "/drafts/x.y"):
        assert post(other, "http://127.0.0.1") == 403, other
    monkeypatch.setattr(auth, "HANDOVER_SECONDS", -1)
    with app.test_request_context():
        assert post(f"/drafts/{auth.make_handover_token()}", "http://127.0.0.1") == 403


def test_a_browser_that_came_with_a_token_goes_with_it(app: Flask, store: Engine) -> None:
    secret, client = issue(store, "operator", "laptop"), app.test_client()
    form = {"token": secret, "csrf": form_token(client, "/login")}
    assert client.post("/login", data=form, headers=OWN_PAGE).status_code == 303
    assert client.get("/board").status_code == 200
    with writing(store) as session:
        tokens.revoke_token(session, tokens.get_token(session, "laptop").id, SYSTEM)
    assert client.get("/board").status_code == 302


def test_a_token_for_programs_does_not_open_a_browser(app: Flask, store: Engine) -> None:
    secret, client = issue(store, "service"), app.test_client()
    form = {"token": secret, "csrf": form_token(client, "/login")}
    answer = client.post("/login", data=form, headers=OWN_PAGE)
    assert answer.status_code == 403 and "Set-Cookie" not in answer.headers


@pytest.mark.both_databases
def test_a_revoked_or_expired_token_is_unknown(operator: Api, viewer: Api, store: Engine) -> None:
    issued = operator.get("/tokens").json["items"]  # type: ignore[index]
    number = next(token["id"] for token in issued if token["name"] == "the-viewer")
    assert viewer.get("/tickets").status_code == 200
    assert operator.delete(f"/tokens/{number}").status_code == 204
    assert viewer.get("/tickets").status_code == 401
    with writing(store) as session:
        session.execute(update(ApiToken).values(expires=now()))
    assert operator.get("/tickets").status_code == 401


def test_a_stream_learns_of_a_revocation(app: Flask, operator: Api, store: Engine) -> None:
    with app.test_request_context(headers={"Authorization": f"Bearer {operator.token}"}):
        caller = auth.identify()
    assert caller is not None and auth.is_still_valid(store, caller)
    with writing(store) as session:
        tokens.revoke_token(session, caller.number, SYSTEM)
    assert not auth.is_still_valid(store, caller)


def test_a_stream_that_a_run_reads_ends_with_the_run(app: Flask, worker: Worker, store: Engine) -> None:
    with app.test_request_context(headers={"Authorization": f"Bearer {worker.token}"}):
        caller = auth.identify()
    assert caller is not None and auth.is_still_valid(store, caller)
    with writing(store) as session:
        reports.mark_lost(session, worker.run, "gone", reports.RetryPolicy())
    assert not auth.is_still_valid(store, caller)


def test_secrets_are_stored_as_hashes_alone(operator: Api, store: Engine) -> None:
    answer = operator.post("/tokens", {"name": "canary", "scope": "viewer"})
    secret = answer.json["token"]  # type: ignore[index]
    assert answer.status_code == 201 and len(secret) >= 43
    with reading(store) as session:
        row = tokens.get_token(session, "canary")
        assert secret not in (row.token_hash, row.prefix) and secret.startswith(row.prefix)
    assert secret not in operator.get("/tokens").text


def test_the_servers_key_is_private_and_stays_the_same(settings: Settings) -> None:
    settings.ensure_home()
    key = secret_files.ensure_key(settings)
    file = settings.secrets_dir / "form.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(key) == 32
    assert secret_files.ensure_key(settings) == key


WRITES = [
    ("POST", "/tickets", {"title": "x"}, "operator orchestrator service"),
    ("PATCH", "/tickets/1", {"version": 1}, "operator orchestrator service"),
    ("POST", "/tickets/1/moves", {"move": "triage"}, "operator orchestrator"),
    ("POST", "/projects", {}, "operator"),
    ("POST", "/tokens", {"name": "another", "scope": "viewer"}, "operator"),
    ("GET", "/tokens", None, "operator"),
    ("GET", "/tickets", None, "operator orchestrator service viewer"),
]


def test_each_scope_reaches_what_it_is_for(app: Flask, store: Engine) -> None:
    reached: dict[tuple[str, str], set[str]] = {}
    for scope in ("viewer", "operator", "orchestrator", "service"):
        caller = Api(app.test_client(), issue(store, scope, f"a-{scope}"))
        for method, path, body, _ in WRITES:
            if caller.call(method, path, json=body).status_code != 403:
                reached.setdefault((method, path), set()).add(scope)
    assert reached == {(method, path): set(allowed.split()) for method, path, _, allowed in WRITES}


def test_a_run_reaches_its_own_ticket_and_nothing_else(worker: Worker, operator: Api) -> None:
    other = operator.post("/tickets", {"title": "Not yours"}).json["identifier"]  # type: ignore[index]
    assert worker.get(f"/tickets/{worker.ticket}").status_code == 200
    assert worker.get(f"/tickets/{other}").status_code == 403
    assert worker.post(f"/tickets/{other}/comments", {"body": "hello"}).status_code == 403
    assert worker.get(f"/runs/{worker.run + 1}").status_code == 403
    for path in ("/tickets", "/tokens", "/projects", "/agents", "/events", "/health"):
        assert worker.get(path).status_code == 403
    assert worker.post(f"/tickets/{worker.ticket}/moves", {"move": "close", "note": "mine"}).status_code == 403
    assert worker.client.get("/board", headers={"Authorization": f"Bearer {worker.token}"}).status_code == 403


def test_what_a_run_files_is_a_child_that_waits_for_triage(worker: Worker, operator: Api) -> None:
    created = worker.post("/tickets", {"title": "Also needed"})
    assert created.status_code == 201 and created.json["status"] == "inbox"  # type: ignore[index]
    relations = operator.get(f"/tickets/{created.json['identifier']}/relationships").json["items"]  # type: ignore[index]
    assert [(relation["kind"], relation["ticket"]) for relation in relations] == [("child_of", worker.ticket)]
