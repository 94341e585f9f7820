"""Reviews by agents for programs and people: a folder on demand, the report, the findings on the page, and their tickets."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from werkzeug.test import TestResponse

from database import reading, writing
from models import Agent, Profile, ReviewAssessment
from tests.workers.repositories import create_repository
from tickets.runs import claims, reports
from tickets.shared.actors import Actor
from tickets.team import agents, projects
from tickets.team.agents import NewAgent
from tickets.team.projects import NewProject

from .conftest import OWN_PAGE, Api, Worker, csrf_token

ALICE = Actor.human("alice")
FINDING = {"severity": "CRITICAL", "category": "security", "path": "same.txt", "line": 1, "title": "Names `x`"}


@pytest.fixture
def folder(store: Engine, tmp_path: Path) -> Path:
    """The repository of a project whose reviewer is the agent ada."""
    repository = create_repository(tmp_path / "repository", same="One\nTwo\n")
    with writing(store) as session:
        session.add(Profile(name="ada", program="script"))
        session.flush()
        agents.add_agent(session, NewAgent(name="ada", runnable=True, profile="ada"), ALICE)
        body = NewProject(slug="web", name="Web", folder=str(repository), reviewer="ada")
        projects.add_project(session, body, ALICE)
    return repository


def send(browser: FlaskClient, path: str, **fields: object) -> TestResponse:
    """Send a form of a page."""
    return browser.post(path, data={"csrf": csrf_token(browser), **fields}, headers=OWN_PAGE)


def claim_review(app: Flask, store: Engine, folder: Path) -> Worker:
    """Claim the ticket of the only assessment, as its wrapper would."""
    with writing(store) as session:
        part = session.scalars(select(ReviewAssessment)).one()
        claim = claims.claim_ticket(session, part.ticket_id, app.extensions["mission_control"].settings.machine_name)
        claims.record_workspace(session, claim.run.id, repository=str(folder), branch="mc/x")
        return Worker(app.test_client(), claim.token, claim.run.id, claim.ticket.identifier)


def test_a_folder_is_reviewed_on_demand_and_its_findings_make_tickets(
    app: Flask, store: Engine, operator: Api, browser: FlaskClient, folder: Path
) -> None:
    missing = operator.post("/projects/web/reviews", {"folder": "src"})
    assert missing.status_code == 422 and "has no folder src" in missing.get_json()["message"]
    response = send(browser, "/settings/projects/web/reviews", folder="../etc", reviewer="")
    assert response.status_code == 303 and "must be a path within the repository" in browser.get("/settings").text
    created = operator.post("/projects/web/reviews", {"folder": "."})
    assert (created.status_code, created.get_json()["title"]) == (201, "Review all files of Web")
    ticket = created.get_json()["identifier"]
    assert "Being reviewed by ada" in browser.get(f"/ticket/{ticket}").text

    worker = claim_review(app, store, folder)
    report = {"verdict": "request_changes", "summary": "Read <b>all</b>.", "findings": [FINDING | {"line": 3}]}
    path = f"/tickets/{worker.ticket}/assessment"
    assert "has 2 lines, and no line 3" in worker.post(path, report).get_json()["message"]
    other = worker.post(path, report | {"findings": [FINDING | {"path": "other.txt"}]})
    assert other.status_code == 422 and "other.txt is no text file" in other.get_json()["message"]
    assert operator.post(path, report).status_code == 403
    assert worker.post(path, report | {"findings": [FINDING]}).get_json() == {
        "verdict": "request_changes",
        "findings": 1,
    }
    with writing(store) as session:
        end = reports.RunReport(verdict="done", summary="Read all.")
        reports.apply_report(session, worker.run, end, reports.RetryPolicy())

    [review] = operator.get(f"/tickets/{ticket}/reviews").get_json()["items"]
    assert (review["verdict"], review["folder"], review["findings"][0]["ticket"]) == ("request_changes", "", None)
    page = browser.get(f"/ticket/{ticket}?tab=changes").text
    assert "Critical" in page and "Names <code>x</code>" in page and "Read &lt;b&gt;all" in page
    number = review["findings"][0]["comment"]
    assert send(browser, f"/ticket/{ticket}/reviews/{review['id']}/tickets", finding=number).status_code == 303
    [again] = operator.post(f"/tickets/{ticket}/reviews/{review['id']}/tickets", {}).get_json()["items"]
    assert (again["title"], again["status"]) == ("Names `x`", "inbox")
    assert f'href="/ticket/{again["identifier"]}"' in browser.get(f"/ticket/{ticket}?tab=changes").text
    assert operator.post(f"/tickets/{again['identifier']}/reviews/{review['id']}/tickets", {}).status_code == 404


def test_people_choose_the_members_of_a_council_and_the_reviewer_of_a_project(
    store: Engine, operator: Api, browser: FlaskClient, folder: Path
) -> None:
    assert send(browser, "/team/agents/new", name="court", kind="council", members="ada").status_code == 303
    assert "Reviews as one: ada" in browser.get("/team").text
    version = operator.get("/projects").get_json()["items"][0]["version"]
    edit = {"version": version, "reviewer": "script-writer"}
    assert operator.patch("/projects/web", edit).status_code == 422
    assert operator.patch("/projects/web", edit | {"reviewer": "court"}).get_json()["reviewer"] == "court"
    with reading(store) as session:
        assert session.get_one(Agent, "court").members == ["ada"]
