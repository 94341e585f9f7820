"""Runs over the API: what a wrapper tells and is told, and what an operator sees and stops."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from database import reading
from tickets.shared import lookup
from tickets.workflow import quarantine

from .conftest import Api, Worker


def test_a_heartbeat_is_answered_with_what_the_run_must_know(worker: Worker, operator: Api) -> None:
    operator.post(f"/tickets/{worker.ticket}/messages", {"body": "Mind the gap."})
    path = f"/runs/{worker.run}/heartbeat"
    beat = {"state": "running", "pid": 42, "pid_started": "1234", "boot_id": "b", "last_run_seq": 0, "agent_pid": None}
    heartbeat_receipt: Any = worker.post(path, beat).json
    assert heartbeat_receipt["stop"] is None and [message["body"] for message in heartbeat_receipt["messages"]] == [
        "Mind the gap."
    ]
    uuid = heartbeat_receipt["messages"][0]["uuid"]
    receipt = {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.receipt"}
    payload = {"uuid": uuid, "state": "accepted"}
    worker.post(f"/tickets/{worker.ticket}/events", {**receipt, "payload": payload})
    assert worker.post(path, beat).json["messages"] == []  # type: ignore[index]
    listed: Any = operator.get(f"/tickets/{worker.ticket}/messages").json
    assert listed["items"][0]["state"] == "accepted"
    assert operator.get(f"/runs/{worker.run}").json["state"] == "running"  # type: ignore[index]


@pytest.mark.both_databases
def test_a_report_ends_the_run_and_moves_the_ticket(worker: Worker, operator: Api) -> None:
    report = {"verdict": "review", "summary": "Look at the names.", "usage": {"input_tokens": 5, "cost_usd": 0.5}}
    answer = worker.post(f"/runs/{worker.run}/report", report)
    assert answer.status_code == 200 and answer.json["ticket"]["status"] == "in_review"  # type: ignore[index]
    run: Any = operator.get(f"/runs/{worker.run}").json
    assert (run["state"], run["outcome"], run["cost_usd"]) == ("ended", "review", 0.5)


@pytest.mark.both_databases
def test_a_second_report_is_refused_and_kept(worker: Worker, store: Engine, operator: Api) -> None:
    """Regression: a repetition of the applied report, whose response was lost, was refused and quarantined as well."""
    path = f"/runs/{worker.run}/report"
    first = {"verdict": "review", "summary": "First.", "claims": [{"text": "It works."}], "usage": {"input_tokens": 5}}
    assert worker.post(path, first).status_code == 200
    before: Any = operator.get(f"/tickets/{worker.ticket}").json
    repeated = worker.post(path, first)
    assert (repeated.status_code, repeated.json["accepted"]) == (200, True)  # type: ignore[index]
    assert operator.get(f"/tickets/{worker.ticket}").json == before
    worker.post(path, {"verdict": "done", "summary": "Second."})
    again = worker.post(path, {"verdict": "done", "summary": "Second."})
    assert (again.status_code, again.json["error"]) == (409, "claim_lost")  # type: ignore[index]
    with reading(store) as session:
        quarantined = quarantine.list_quarantined(session, lookup.get_ticket(session, worker.ticket).id)
    assert ["Second." in entry.payload for entry in quarantined] == [True]
    assert worker.post(f"/runs/{worker.run}/heartbeat", {"state": "running"}).status_code == 409


@pytest.mark.both_databases
def test_a_verdict_that_comes_after_a_stop_is_refused_after_the_commit(worker: Worker, operator: Api) -> None:
    answer = operator.post(f"/tickets/{worker.ticket}/moves", {"move": "park", "wake": {"kind": "manual"}})
    assert answer.status_code == 200
    late = worker.post(f"/runs/{worker.run}/report", {"verdict": "done", "summary": "Finished all the same."})
    assert late.status_code == 409
    run: Any = operator.get(f"/runs/{worker.run}").json
    assert (run["state"], run["outcome"]) == ("ended", "stopped")
    assert operator.get(f"/tickets/{worker.ticket}").json["status"] == "waiting"  # type: ignore[index]


def test_an_operator_stops_a_run_and_the_ticket_stays_parked(worker: Worker, operator: Api, viewer: Api) -> None:
    assert viewer.post(f"/runs/{worker.run}/stop", {}).status_code == 403
    answer = operator.post(f"/runs/{worker.run}/stop", {"reason": "Wrong branch."})
    assert answer.json["status"] == "waiting"  # type: ignore[index]
    assert answer.json == operator.get(f"/tickets/{worker.ticket}").json, "its `last_seq` was one behind"
    heartbeat_receipt: Any = worker.post(f"/runs/{worker.run}/heartbeat", {"state": "running"}).json
    assert heartbeat_receipt["stop"]["code"] == "parked"


def test_the_runs_of_a_ticket_are_listed_and_tell_no_secret(worker: Worker, operator: Api) -> None:
    listed = operator.get(f"/tickets/{worker.ticket}/runs")
    assert [run["generation"] for run in listed.json["items"]] == [1]  # type: ignore[index]
    assert "hash" not in listed.text and "nonce" not in listed.text


def test_a_service_mirrors_work_done_elsewhere(service: Api, operator: Api) -> None:
    ticket_json: Any = operator.post("/tickets", {"title": "Done by another system"}).json
    path = f"/tickets/{ticket_json['identifier']}/runs"
    mirror_run: Any = service.post(path, {"agent": "ci", "host": "builder"}).json
    assert mirror_run["run"]["mode"] == "external" and mirror_run["token"].startswith("mcr_")
    mirror = Worker(service.client, mirror_run["token"], mirror_run["run"]["id"], ticket_json["identifier"])
    assert mirror.post(f"/runs/{mirror.run}/heartbeat", {"state": "running"}).status_code == 200
    assert service.post(path, {"agent": "ci"}).status_code == 409


def test_a_runs_token_reads_nothing_once_the_run_is_over(worker: Worker) -> None:
    assert worker.get(f"/tickets/{worker.ticket}").status_code == 200
    assert worker.post(f"/runs/{worker.run}/report", {"verdict": "review"}).status_code == 200
    assert worker.get(f"/tickets/{worker.ticket}").status_code == 401
    assert worker.post(f"/runs/{worker.run}/report", {"verdict": "done"}).status_code == 409


def test_no_run_speaks_for_another(worker: Worker, operator: Api) -> None:
    assert operator.post(f"/runs/{worker.run}/report", {"verdict": "done"}).status_code == 403
    assert worker.post(f"/runs/{worker.run + 1}/report", {"verdict": "done"}).status_code == 403
    assert operator.get("/runs/999").json["error"] == "no_such_run"  # type: ignore[index]
