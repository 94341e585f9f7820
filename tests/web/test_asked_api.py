"""What an agent asks while it works, answered by a program."""

from __future__ import annotations

from typing import Any

from .conftest import Api, Worker

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


def test_a_request_that_was_never_made_cannot_be_answered_and_not_by_the_run(worker: Worker, operator: Api) -> None:
    path = f"/tickets/{worker.ticket}/requests"
    assert operator.post(path, {"request": "r-9"}).status_code == 409
    worker.post(f"/tickets/{worker.ticket}/events", ASKED)
    assert worker.post(path, {"request": "r-1"}).status_code == 403
