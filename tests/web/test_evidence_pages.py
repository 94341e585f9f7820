"""Required evidence on pages and in the API: the project's rules, waivers, sign-offs, live routes and the receipt."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine

from database import reading, writing
from tests.test_item_evidence import prove, submit
from tests.test_landing import project
from tests.test_spine import make
from tickets.team import projects

from .conftest import OWN_PAGE, Api, csrf_token

RULES = [
    {"kind": "tests", "before": "submit", "tags": ["bug", "infra"], "runbook": "https://docs.test/tests"},
    {"kind": "sign_off", "before": "approve", "tags": [], "runbook": None},
    {"kind": "live_route", "before": "complete", "tags": [], "runbook": None},
]


def send(browser: FlaskClient, path: str, **fields: Any) -> int:
    data = {"csrf": csrf_token(browser), **fields}
    return browser.post(path, data=data, headers=OWN_PAGE).status_code


def text(browser: FlaskClient, path: str) -> str:
    return browser.get(path).get_data(as_text=True)


def send_rules(browser: FlaskClient, version: int, rows: list[tuple[str, str, str, str]], hosts: str) -> int:
    columns = zip(*rows, strict=True)
    names = ("rule_kind", "rule_before", "rule_tags", "rule_runbook")
    lists = {name: list(column) for name, column in zip(names, columns, strict=True)}
    plain = {"version": version, "name": "Web", "folder": "/srv/web", "base_branch": "main", "gate": "person"}
    return send(browser, "/settings/projects/web", **plain, max_runs=2, live_hosts=hosts, **lists)


def test_a_person_sets_what_a_project_requires(browser: FlaskClient, store: Engine, operator: Api) -> None:
    with writing(store) as session:
        project(session, "leave")
    rows = [
        ("tests", "submit", "bug, infra", "https://docs.test/tests"),
        ("", "approve", "left", ""),
        ("sign_off", "approve", "", ""),
        ("live_route", "complete", "", ""),
    ]
    assert send_rules(browser, 1, rows, "localhost:*\n\n") == 303
    stored = operator.patch("/projects/web", {"version": 2, "name": "Web pages"}).get_json()
    assert (stored["evidence_policy"], stored["live_hosts"]) == (RULES, ["localhost:*"])
    html = text(browser, "/settings/projects/web")
    assert 'value="bug infra"' in html and "localhost:*" in html and html.count('name="rule_kind"') == 5
    assert send_rules(browser, 3, [("tests", "submit", "Not A Tag", "")], "") == 422
    assert send_rules(browser, 3, rows, "http://localhost") == 422
    assert (
        send(
            browser,
            "/settings/projects/web",
            version=3,
            name="W",
            folder="/srv/web",
            base_branch="main",
            gate="person",
            max_runs=2,
        )
        == 303
    )
    with reading(store) as session:
        assert projects.get_project(session, "web").evidence_policy == RULES, "a form without the rules leaves them"


def test_required_evidence_is_shown_waived_signed_off_and_in_the_receipt(
    browser: FlaskClient, store: Engine, operator: Api, viewer: Api
) -> None:
    with writing(store) as session:
        web = project(session, "leave")
        web.evidence_policy, web.live_hosts = RULES, ["localhost:*"]
    ticket_id = make(store, project="web", tags=["bug"], acceptance=("It <b>greets</b>",))
    tests = {"kind": "tests", "text": "It is tested", "proof": {"kind": "event", "ref": "greet.sh"}}
    submit(store, ticket_id, [tests, prove(0, "event", "greet.sh")])

    tab = text(browser, "/ticket/MC-1?tab=evidence")
    assert "1 of 3" in tab and 'href="https://docs.test/tests"' in tab and "Missing; a person signs off" in tab
    dialog = text(browser, "/ticket/MC-1/move/approve")
    assert "Sign-off: missing" in dialog and "Live route: missing" in dialog
    refusal = operator.post("/tickets/MC-1/moves", {"move": "approve"})
    assert refusal.status_code == 409
    assert [entry["kind"] for entry in refusal.get_json()["detail"]["missing"]] == [
        "live_route",
        "sign_off",
        "acceptance",
    ]

    dialog = browser.get("/ticket/MC-1/evidence/sign-off", headers={"HX-Request": "true"}).get_data(as_text=True)
    assert dialog.lstrip().startswith("<form") and 'id="move-title">Sign off' in dialog
    assert "<title>Sign off MC-1" in text(browser, "/ticket/MC-1/evidence/sign-off")
    assert send(browser, "/ticket/MC-1/evidence/sign-off", note="Fine") == 303
    assert "Waive live route" in text(browser, "/ticket/MC-1/evidence/waive?kind=live_route")
    assert browser.get("/ticket/MC-1/evidence/waive?kind=diff").status_code == 404
    waiver = {"kind": "live_route", "reason": "No page"}
    assert send(browser, "/ticket/MC-1/evidence/waive", **waiver) == 303
    assert send(browser, "/ticket/MC-1/evidence/waive", kind="diff", reason="x") == 422
    assert "No page" in text(browser, "/ticket/MC-1/evidence/waive?kind=live_route")
    gates = viewer.get("/tickets/MC-1/evidence-gates").get_json()["items"]
    assert [(gate["kind"], gate["state"]) for gate in gates] == [
        ("tests", "met"),
        ("live_route", "waived"),
        ("sign_off", "met"),
    ]
    assert viewer.post("/tickets/MC-1/sign-off", {}).status_code == 403
    back = operator.post("/tickets/MC-1/evidence-gates", {"kind": "live_route"})
    assert back.get_json()["items"][1]["state"] == "missing"

    url = "http://localhost:5000/"
    assert send(browser, "/ticket/MC-1/evidence/route", url=url) == 303
    assert send(browser, "/ticket/MC-1/evidence/route", url="ftp://a") == 422
    requested = operator.post("/tickets/MC-1/routes", {"url": url})
    assert (requested.status_code, requested.get_json()["state"]) == (201, "unknown")
    assert [row["url"] for row in viewer.get("/tickets/MC-1/routes").get_json()["items"]] == [url]

    page = text(browser, "/ticket/MC-1/receipt")
    assert "It &lt;b&gt;greets&lt;/b&gt;" in page and "<code>Run it ./greet.sh alice</code>" in page
    downloaded = browser.get("/ticket/MC-1/receipt.json")
    assert downloaded.headers["Content-Disposition"] == 'attachment; filename="MC-1.json"'
    facts, api_facts = json.loads(downloaded.get_data(as_text=True)), viewer.get("/tickets/MC-1/receipt").get_json()
    assert facts | {"written": ""} == api_facts | {"written": ""}
    assert facts["items"][0]["proofs"][0]["exit_code"] == 0
