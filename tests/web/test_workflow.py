"""A ticket's phases over the API and on its page: begun, arranged, waived and decided by people alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from database import writing
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.team import projects
from tickets.team.projects import NewProject
from web.site import phase_forms

from .conftest import OWN_PAGE, Api, Worker, csrf_token, start

DEV = {"name": "Dev", "agent": "script", "gate": "reviewer"}
REVIEW = {"name": "Review", "agent": "claude", "choices": ["ship", "hold"]}


@pytest.fixture
def ticket(operator: Api) -> str:
    ticket_json = operator.post("/tickets", {"title": "Write a line", "assigned_to": "script"}).get_json()
    return str(ticket_json["identifier"])


def test_a_workflow_is_begun_read_arranged_and_waived(operator: Api, ticket: str) -> None:
    answer = operator.post(f"/tickets/{ticket}/workflow", {"phases": [DEV, REVIEW], "version": 1})
    assert (answer.status_code, answer.get_json()["phase"]) == (201, "Dev")
    assert answer.get_json()["waits_for"] == "Waiting for script to start."
    arranged = operator.call("PUT", f"/tickets/{ticket}/workflow", json={"phases": [{"name": "QA"}], "version": 2})
    assert [phase["name"] for phase in arranged.get_json()["phases"]] == ["Dev", "QA"]
    waived = operator.post(f"/tickets/{ticket}/workflow/waive", {"phase": "QA", "reason": "Not needed."}).get_json()
    assert [(phase["state"], phase["note"]) for phase in waived["phases"]] == [
        ("current", None),
        ("waived", "Not needed."),
    ]
    assert operator.get(f"/tickets/{ticket}/workflow").get_json() == waived


def test_a_decision_is_made_and_a_wrong_one_named(operator: Api, ticket: str) -> None:
    operator.post(f"/tickets/{ticket}/workflow", {"phases": [REVIEW]})
    assert operator.post(f"/tickets/{ticket}/workflow/decide", {"choice": "sink"}).status_code == 422
    workflow = operator.post(f"/tickets/{ticket}/workflow/decide", {"choice": "ship"}).get_json()
    assert workflow["phases"][0]["decided"] == "ship"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"phases": []}, 422),
        ({"phases": [DEV, DEV]}, 422),
        ({"phases": [{"name": "Dev", "agent": "nobody"}]}, 422),
        ({"phases": [DEV], "version": 7}, 409),
    ],
)
def test_what_cannot_be_begun_is_refused_and_leaves_the_ticket(
    operator: Api, ticket: str, body: dict[str, Any], status: int
) -> None:
    assert operator.post(f"/tickets/{ticket}/workflow", body).status_code == status
    assert operator.get(f"/tickets/{ticket}/workflow").get_json()["phases"] == []


def test_programs_read_phases_and_do_not_plan_them(
    orchestrator: Api, service: Api, viewer: Api, worker: Worker
) -> None:
    for program in (orchestrator, service, viewer, worker):
        assert program.get(f"/tickets/{worker.ticket}/workflow").status_code == 200
        assert program.post(f"/tickets/{worker.ticket}/workflow", {"phases": [DEV]}).status_code == 403


def test_a_run_that_asks_for_changes_sends_its_ticket_back(app: Flask, store: Engine, operator: Api) -> None:
    dev = start(app, store, assigned_to=None, phases=[DEV | {"gate": "none"}, REVIEW])
    assert dev.post(f"/runs/{dev.run}/report", {"verdict": "done"}).get_json()["ticket"]["phase"] == "Review"
    with writing(store) as session:
        claim = claims.claim_ticket(session, lookup.get_ticket(session, dev.ticket).id, "here")
    reviewer = Worker(dev.client, claim.token, claim.run.id, dev.ticket)
    report = {"verdict": "changes", "summary": "A line is missing."}
    back = reviewer.post(f"/runs/{reviewer.run}/report", report).get_json()["ticket"]
    assert (back["status"], back["phase"], back["assigned_to"]) == ("todo", "Dev", "script")
    assert operator.get(f"/runs/{reviewer.run}").get_json()["outcome"] == "changes"
    comment = operator.get(f"/tickets/{dev.ticket}/comments").get_json()["items"][0]
    assert (comment["kind"], comment["author"], comment["body"]) == ("feedback", "claude", "A line is missing.")


# -------------------------------------------------------------------------------------------------------------- the page

PICKED = {
    "phase-0-name": "Dev",
    "phase-0-on": "1",
    "phase-0-place": "2",
    "phase-0-agent": "script",
    "phase-0-end": "none",
    "phase-1-name": "Review",
    "phase-1-on": "1",
    "phase-1-place": "1",
    "phase-1-end": "decision",
    "phase-1-choices": "ship, hold",
    "phase-1-runbook": "docs/review.md",
    "phase-2-name": "QA",
    "phase-2-end": "person",
}


def send(browser: FlaskClient, ticket: str, path: str, **form: Any) -> Any:
    token = csrf_token(browser)
    return browser.post(f"/ticket/{ticket}/{path}", data={"csrf": token, **form}, headers=OWN_PAGE)


def test_the_picker_sends_what_is_ticked_in_its_places(browser: FlaskClient, operator: Api, ticket: str) -> None:
    assert send(browser, ticket, "workflow", **PICKED).status_code == 303
    phases = operator.get(f"/tickets/{ticket}/workflow").get_json()["phases"]
    assert [(phase["name"], phase["gate"], phase["choices"], phase["runbook"]) for phase in phases] == [
        ("Review", "person", ["ship", "hold"], "docs/review.md"),
        ("Dev", "none", [], None),
    ]


def test_a_refused_picker_is_shown_again_as_it_was_filled(browser: FlaskClient, ticket: str) -> None:
    answer = send(browser, ticket, "workflow", **PICKED | {"phase-0-agent": "nobody"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "There is no member of the team named" in page
    assert 'value="ship, hold"' in page and page.index('data-phase="Review"') < page.index('data-phase="Dev"')


@pytest.mark.parametrize(
    ("names", "text"),
    [((), ""), (("Dev",), "Dev"), (("Dev", "QA"), "Dev + QA"), (("Dev", "Review", "QA"), "Dev Review + QA")],
)
def test_phases_are_listed_as_one_says_them(names: tuple[str, ...], text: str) -> None:
    assert phase_forms.listing(names) == text


def test_the_box_offers_a_start_then_decisions_then_nothing(browser: FlaskClient, operator: Api, ticket: str) -> None:
    assert ">Start Dev</button>" in browser.get(f"/ticket/{ticket}").get_data(as_text=True)
    send(browser, ticket, "workflow", **PICKED)
    page = browser.get(f"/ticket/{ticket}").get_data(as_text=True)
    assert "Start Dev" not in page and f'action="/ticket/{ticket}/workflow/decide"' in page
    assert send(browser, ticket, "workflow/decide", choice="hold").status_code == 303
    assert "Decided: hold" in browser.get(f"/ticket/{ticket}").get_data(as_text=True)
    operator.post(f"/tickets/{ticket}/moves", {"move": "cancel"})
    body = browser.get(f"/ticket/{ticket}").get_data(as_text=True)
    assert "Decided: hold" in body and "/workflow/decide" not in body


HIDDEN_PHASE_FIELD = re.compile(r'<input type="hidden" name="(phase-[^"]+)" value="([^"]*)">')


def test_the_start_button_begins_with_the_phases_of_the_project(
    store: Engine, browser: FlaskClient, operator: Api, tmp_path: Path
) -> None:
    review = REVIEW | {"runbook": "docs/review.md"}
    with writing(store) as session:
        body = {"slug": "web", "name": "Web", "folder": str(tmp_path), "phases": [DEV, review, {"name": "QA"}]}
        projects.add_project(session, NewProject.model_validate(body), Actor.human())
    ticket = operator.post("/tickets", {"title": "Write a line", "project": "web"}).get_json()["identifier"]
    page = browser.get(f"/ticket/{ticket}").get_data(as_text=True)
    assert ">Start Dev Review + QA</button>" in page
    picker = browser.get(f"/ticket/{ticket}/workflow").get_data(as_text=True)
    assert 'name="phase-1-runbook" value="docs/review.md"' in picker and "Another phase" in picker
    assert send(browser, ticket, "workflow", **dict(HIDDEN_PHASE_FIELD.findall(page))).status_code == 303
    phases = operator.get(f"/tickets/{ticket}/workflow").get_json()["phases"]
    assert [(phase["name"], phase["agent"], phase["gate"], phase["choices"], phase["runbook"]) for phase in phases] == [
        ("Dev", "script", "reviewer", [], None),
        ("Review", "claude", "person", ["ship", "hold"], "docs/review.md"),
        ("QA", None, "person", [], None),
    ]


def test_changes_are_asked_of_a_phase_where_there_is_a_choice(
    app: Flask, store: Engine, browser: FlaskClient, operator: Api, ticket: str
) -> None:
    phased = start(app, store, assigned_to=None, phases=[DEV, REVIEW])
    phased.post(f"/runs/{phased.run}/report", {"verdict": "done"})
    with writing(store) as session:
        claim = claims.claim_ticket(session, lookup.get_ticket(session, phased.ticket).id, "here")
        reports.apply_report(session, claim.run.id, reports.RunReport(verdict="review"), reports.RetryPolicy())
    body = browser.get(f"/ticket/{phased.ticket}/move/request_changes").get_data(as_text=True)
    assert '<option value="Dev" selected>Dev · script</option><option value="Review">Review · claude</option>' in body
    assert "Send back to" not in browser.get(f"/ticket/{ticket}/move/request_changes").get_data(as_text=True)
    send(browser, phased.ticket, "move", move="request_changes", body="Look again.", phase="Review")
    assert operator.get(f"/tickets/{phased.ticket}").get_json()["phase"] == "Review"


def test_a_waiver_needs_its_reason_and_is_shown(browser: FlaskClient, ticket: str) -> None:
    send(browser, ticket, "workflow", **PICKED)
    body = browser.get(f"/ticket/{ticket}/workflow/waive?phase=Dev").get_data(as_text=True)
    assert "Why it does not apply" in body
    assert browser.get(f"/ticket/{ticket}/workflow/waive?phase=Nope").status_code == 404
    assert send(browser, ticket, "workflow/waive", phase="Dev", reason="").status_code == 422
    assert send(browser, ticket, "workflow/waive", phase="Dev", reason="It is written.").status_code == 303
    assert "Waived: It is written." in browser.get(f"/ticket/{ticket}").get_data(as_text=True)
