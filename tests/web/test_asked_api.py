"""What an agent asks while it works, answered by a program."""

from __future__ import annotations

import re
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine

from database import writing
from tickets.runs import claims, reports
from tickets.shared import lookup

from .conftest import OWN_PAGE, Api, Worker, csrf_token

BEAT = {"state": "waiting"}
ASKED = {
    "run_seq": 1,
    "ts": "2026-01-01T00:00:00Z",
    "event_type": "agent.approval",
    "payload": {"request": "r-1", "tool": "Bash", "input": {"command": "make"}, "title": "make"},
}


def test_a_tools_request_is_listed_answered_once_and_told_to_the_run(worker: Worker, operator: Api) -> None:
    worker.post(f"/tickets/{worker.ticket}/events", ASKED)
    path = f"/tickets/{worker.ticket}/requests"
    listed: Any = operator.get(path).json
    assert [(item["request"], item["state"]) for item in listed["items"]] == [("r-1", "pending")]
    request: Any = operator.post(path, {"request": "r-1", "behavior": "deny", "message": "Not now."}).json
    assert (request["state"], request["answered_by"]) == ("answered", "the-operator")
    receipt: Any = worker.post(f"/runs/{worker.run}/heartbeat", BEAT).json
    assert [(entry["request"], entry["behavior"], entry["message"]) for entry in receipt["answers"]] == [
        ("r-1", "deny", "Not now.")
    ]
    assert operator.post(path, {"request": "r-1"}).status_code == 409


def test_an_empty_answer_in_the_form_does_not_shift_the_later_ones(worker: Worker, browser: FlaskClient) -> None:
    questions: list[dict[str, Any]] = [{"text": text, "choices": []} for text in ("Colour?", "Size?", "Shape?")]
    payload = {"request": "r-1", "questions": questions}
    worker.post(f"/tickets/{worker.ticket}/events", {**ASKED, "event_type": "agent.question", "payload": payload})
    fields = {"csrf": csrf_token(browser), "request": "r-1", "text-0": "Red", "text-1": " ", "choice-2": "Round"}
    assert browser.post(f"/ticket/{worker.ticket}/answer", data=fields, headers=OWN_PAGE).status_code == 303
    receipt: Any = worker.post(f"/runs/{worker.run}/heartbeat", BEAT).json
    assert receipt["answers"][0]["answers"] == {"Colour?": "Red", "Shape?": "Round"}


def test_an_answer_to_an_earlier_question_is_refused(
    worker: Worker, browser: FlaskClient, operator: Api, store: Engine
) -> None:
    worker.post(f"/runs/{worker.run}/report", {"verdict": "question", "summary": "Which colour?"})
    page = browser.get(f"/ticket/{worker.ticket}").get_data(as_text=True)
    (version,) = re.findall(r'name="request" value=""><input type="hidden" name="version" value="(\d+)"', page)
    fields = {"csrf": csrf_token(browser), "version": version, "text-0": "Red"}
    assert browser.post(f"/ticket/{worker.ticket}/answer", data=fields, headers=OWN_PAGE).status_code == 303
    with writing(store) as session:
        claim = claims.claim_ticket(session, lookup.get_ticket(session, worker.ticket).id, "here")
        report = reports.RunReport(verdict="question", summary="Delete everything?")
        reports.apply_report(session, claim.run.id, report, reports.RetryPolicy())
    assert browser.post(f"/ticket/{worker.ticket}/answer", data=fields, headers=OWN_PAGE).status_code == 409
    ticket: Any = operator.get(f"/tickets/{worker.ticket}").json
    assert ticket["status"] == "needs_input"


def test_a_request_that_was_never_made_cannot_be_answered_and_not_by_the_run(worker: Worker, operator: Api) -> None:
    path = f"/tickets/{worker.ticket}/requests"
    assert operator.post(path, {"request": "r-9"}).status_code == 409
    worker.post(f"/tickets/{worker.ticket}/events", ASKED)
    assert worker.post(path, {"request": "r-1"}).status_code == 403
