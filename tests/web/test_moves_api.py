"""Moves over the API: the law's answers, as JSON."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from settings import Settings
from tickets.lifecycle.moves import LANDING_MOVES, MOVES

from .conftest import Api, Worker, issue, start


@pytest.fixture
def ticket(operator: Api) -> str:
    return str(operator.post("/tickets", {"title": "Write a line"}).json["identifier"])  # type: ignore[index]


def move(caller: Api, ticket: str, name: str, **facts: Any) -> tuple[int, dict[str, Any]]:
    answer = caller.post(f"/tickets/{ticket}/moves", {"move": name, **facts})
    return answer.status_code, answer.json  # type: ignore[return-value]


def test_a_move_answers_with_the_moved_ticket(operator: Api, ticket: str) -> None:
    status, ticket_json = move(operator, ticket, "park", wake={"kind": "manual"}, note="Not now", priority="low")
    assert (status, ticket_json["status"], ticket_json["priority"], ticket_json["version"]) == (
        200,
        "waiting",
        "low",
        2,
    )
    assert move(operator, ticket, "wake")[1]["status"] == "todo"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_words_sent_over_the_api_answer_request_changes_or_wait_as_those_of_a_form(
    app: Flask, store: Engine, operator: Api, service: Api
) -> None:
    became: dict[str, list[Any]] = {}
    differing: set[str] = set()
    for verdict in ("question", "review"):
        for caller in (service, operator):
            worker = start(app, store)
            path = f"/tickets/{worker.ticket}/messages"
            live: Any = caller.post(path, {"body": "Go on."}).json
            worker.post(f"/runs/{worker.run}/report", {"verdict": verdict, "summary": "Well?"})
            message: Any = caller.post(path, {"body": "Shorter.", "mode": "queue"}).json
            status = operator.get(f"/tickets/{worker.ticket}").json["status"]  # type: ignore[index]
            became[f"{message['author']} {verdict}"] = [live["became"], message["became"], status]
            differing |= message.keys() ^ live.keys()
            assert (message["body"], message["mode"], bool(message["text"])) == ("Shorter.", "queue", True)

    assert differing == set()
    assert became == {
        "the-service question": ["message", "message", "needs_input"],
        "the-operator question": ["message", "answer", "todo"],
        "the-service review": ["message", "message", "in_review"],
        "the-operator review": ["message", "request_changes", "todo"],
    }


def test_an_illegal_move_says_what_is_possible_and_changes_nothing(operator: Api, ticket: str) -> None:
    before = operator.get(f"/tickets/{ticket}").json
    status, error = move(operator, ticket, "approve")
    assert (status, error["error"]) == (409, "illegal_move")
    assert "cancel" in error["detail"]["moves"] and error["detail"]["status"] == "todo"
    assert operator.get(f"/tickets/{ticket}").json == before


@pytest.mark.both_databases
def test_a_move_on_a_stale_version_is_refused(operator: Api, ticket: str) -> None:
    assert move(operator, ticket, "start", version=1)[0] == 200
    status, error = move(operator, ticket, "finish", version=1)
    assert (status, error["error"]) == (409, "stale_ticket")


@pytest.mark.parametrize(
    "body",
    [
        {"move": "vanish"},
        {"move": "park"},
        {"move": "park", "wake": {"kind": "time"}},
        {"move": "park", "wake": {"kind": "time", "at": "2030-01-01T00:00:00"}},
        {"move": "block", "reason": "mood", "owner": "me", "next_action": "wait"},
        {"move": "close"},
        {"move": "triage", "status": "done"},
        {"move": ["triage"]},
        {},
        [],
    ],
)
def test_facts_that_a_move_does_not_have_are_named(operator: Api, ticket: str, body: Any) -> None:
    answer = operator.post(f"/tickets/{ticket}/moves", body)
    assert (answer.status_code, answer.json["error"]) == (422, "invalid")  # type: ignore[index]
    assert answer.json["detail"]["fields"]  # type: ignore[index]


def test_no_move_of_a_run_can_be_made_over_the_api(operator: Api, app: Flask, store: Engine) -> None:
    worker = start(app, store)
    facts = {name: {"body": "!"} for name in LANDING_MOVES} | {"ask": {"question": {}, "body": "?"}}
    for definition in MOVES.values():
        if {by.value for by in definition.by} <= {"live run", "pickup", "system"}:
            status, error = move(operator, worker.ticket, definition.name, **facts.get(definition.name, {}))
            assert (status, error["error"]) == (409, "illegal_move")


def test_a_triage_token_edits_what_it_triages_and_nothing_else(app: Flask, store: Engine, operator: Api) -> None:
    triage = Api(app.test_client(), issue(store, "triage"))
    operator.post("/tickets", {"title": "Write a line", "status": "inbox"})
    edit = {"version": 1, "priority": "high", "assigned_to": "script", "tags": ["bug"]}
    assert triage.call("PATCH", "/tickets/MC-1", json=edit).status_code == 200
    assert triage.call("PATCH", "/tickets/MC-1", json={"version": 2, "title": "Mine now"}).status_code == 403
    assert triage.post("/tickets/MC-1/moves", {"move": "triage"}).status_code == 200
    assert triage.call("PATCH", "/tickets/MC-1", json={"version": 3, "priority": "low"}).status_code == 403


def test_an_orchestrator_triages_but_does_not_close(operator: Api, orchestrator: Api) -> None:
    ticket_json: Any = operator.post("/tickets", {"title": "x", "status": "inbox"}).json
    assert move(orchestrator, ticket_json["identifier"], "triage")[0] == 200
    assert move(orchestrator, ticket_json["identifier"], "close", note="enough")[0] == 409


def test_a_move_that_stops_a_run_nudges_it(operator: Api, worker: Worker, settings: Settings) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(settings.sockets_dir / f"run-{worker.run}.sock"))
        listener.settimeout(5)
        assert move(operator, worker.ticket, "park", wake={"kind": "manual"})[0] == 200
        assert listener.recv(16) == b"look"
    receipt: Any = worker.post(f"/runs/{worker.run}/heartbeat", {"state": "running"}).json
    assert receipt["stop"]["code"] == "parked"
