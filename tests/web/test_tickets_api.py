"""Tickets over the API: created, listed, read, edited, related and linked."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, event

from database import writing
from tickets.conversation import timeline
from tickets.operations import start_grace
from tickets.schedule import tasks
from tickets.shared.actors import Actor
from tickets.team import projects
from web.api.openapi import build_document

from .conftest import Api, Worker, start


def make(operator: Api, **facts: Any) -> Any:
    answer = operator.post("/tickets", {"title": "Write a line", **facts})
    assert answer.status_code == 201, answer.text
    ticket_json: Any = answer.json
    return ticket_json


def titles(operator: Api, query: str) -> list[str]:
    answer = operator.get(f"/tickets?{query}")
    assert answer.status_code == 200, answer.text
    return [ticket["title"] for ticket in answer.json["items"]]  # type: ignore[index]


@pytest.mark.both_databases
def test_a_created_ticket_is_answered_whole(operator: Api) -> None:
    acceptance = [{"text": "It works", "met": False}]
    ticket_json = make(operator, priority="high", tags=["infra", "bug"], acceptance=acceptance, description="Why")
    assert ticket_json["identifier"] == "MC-1" and ticket_json["status"] == "todo" and ticket_json["version"] == 1
    assert (ticket_json["priority"], ticket_json["tags"], ticket_json["acceptance"]) == (
        "high",
        ["bug", "infra"],
        acceptance,
    )
    assert ticket_json["requester"] == "the-operator"
    for name in ("MC-1", "1"):
        assert operator.get(f"/tickets/{name}").json == ticket_json


def test_an_acceptance_item_may_be_a_text_alone_and_the_document_says_so(operator: Api) -> None:
    ticket_json = make(operator, acceptance=["It works", {"text": "It is fast", "met": True}])
    assert ticket_json["acceptance"] == [{"text": "It works", "met": False}, {"text": "It is fast", "met": True}]
    edited: Any = operator.patch("/tickets/MC-1", {"version": 1, "acceptance": ["Anew"]}).json
    assert edited["acceptance"] == [{"text": "Anew", "met": False}]
    assert operator.post("/tickets", {"title": "x", "acceptance": [""]}).status_code == 422

    schemas = build_document()["components"]["schemas"]
    for schema in (
        schemas["NewTicket"]["properties"]["acceptance"],
        schemas["EditTicket"]["properties"]["acceptance"]["anyOf"][0],
    ):
        assert "string" in [kind.get("type") for kind in schema["items"]["anyOf"]]


def test_a_ticket_wanted_in_waiting_is_created_there(operator: Api) -> None:
    wake = {"kind": "time", "at": "2030-01-01T00:00:00Z"}
    ticket_json = make(operator, status="waiting", wake=wake)
    assert ticket_json["status"] == "waiting" and ticket_json["wake"]["kind"] == "time"
    assert operator.post("/tickets", {"title": "x", "status": "waiting"}).status_code == 422


@pytest.mark.both_databases
def test_every_filter_narrows_the_list(operator: Api, store: Engine) -> None:
    with writing(store) as session:
        body = projects.NewProject(slug="site", name="Site", folder="/srv/site")
        projects.add_project(session, body, Actor.human())
    make(operator, title="plain")
    make(operator, title="urgent", priority="urgent")
    make(operator, title="tagged", tags=["bug"])
    make(operator, title="owned", assigned_to="script")
    make(operator, title="placed", project="site")
    make(operator, title="captured 100%", status="inbox")
    assert titles(operator, "priority=urgent") == ["urgent"]
    assert titles(operator, "tag=bug") == ["tagged"]
    assert titles(operator, "assigned_to=script") == ["owned"]
    assert titles(operator, "project=site") == ["placed"]
    assert titles(operator, "status=inbox") == ["captured 100%"]
    assert titles(operator, "q=00%25") == ["captured 100%"]
    assert titles(operator, "q=0%255") == []
    assert titles(operator, "q=mc-1") == ["plain"]
    assert len(titles(operator, "status=todo")) == 5


@pytest.mark.both_databases
def test_pages_hold_every_ticket_once(operator: Api) -> None:
    identifiers = [make(operator, title=f"number {number}")["identifier"] for number in range(7)]
    listed: list[str] = []
    cursor = ""
    while True:
        page: Any = operator.get(f"/tickets?limit=3{cursor}").json
        listed += [ticket["identifier"] for ticket in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert listed == identifiers[::-1]


def test_a_list_takes_the_same_queries_however_long_it_is(operator: Api, store: Engine) -> None:
    def queries() -> int:
        statements: list[str] = []
        listen = ("before_cursor_execute", lambda *seen: statements.append(seen[2]))
        event.listen(store, *listen)
        operator.get("/tickets")
        event.remove(store, *listen)
        return len(statements)

    make(operator, tags=["bug"])
    few = queries()
    for _ in range(12):
        make(operator, tags=["infra"])
    assert queries() == few


def test_an_edit_says_what_was_and_what_is(operator: Api) -> None:
    make(operator, tags=["bug"])
    change = {"version": 1, "title": "Write two lines", "tags": ["infra"], "priority": "low", "assigned_to": "script"}
    edited: Any = operator.patch("/tickets/MC-1", change).json
    assert (edited["title"], edited["tags"], edited["priority"], edited["version"]) == (
        "Write two lines",
        ["infra"],
        "low",
        2,
    )
    logged: Any = operator.get("/tickets/MC-1/events").json
    assert logged["items"][-1]["payload"]["changes"] == {
        "title": ["Write a line", "Write two lines"],
        "tags": [["bug"], ["infra"]],
        "priority": ["normal", "low"],
        "assigned_to": [None, "script"],
    }


def test_null_clears_what_may_be_empty_and_nothing_else(operator: Api) -> None:
    make(operator, assigned_to="script")
    assert operator.patch("/tickets/MC-1", {"version": 1, "assigned_to": None}).json["assigned_to"] is None  # type: ignore[index]
    answer = operator.patch("/tickets/MC-1", {"version": 2, "title": None})
    assert answer.status_code == 422 and "title" in answer.json["detail"]["fields"]  # type: ignore[index]


@pytest.mark.both_databases
def test_a_stale_edit_changes_nothing(operator: Api) -> None:
    make(operator)
    assert operator.patch("/tickets/MC-1", {"version": 1, "title": "first"}).status_code == 200
    late = operator.patch("/tickets/MC-1", {"version": 1, "title": "second"})
    assert (late.status_code, late.json["error"]) == (409, "stale_ticket")  # type: ignore[index]
    assert operator.get("/tickets/MC-1").json["title"] == "first"  # type: ignore[index]


def test_an_archived_ticket_is_listed_apart(operator: Api) -> None:
    make(operator)
    operator.patch("/tickets/MC-1", {"version": 1, "archived": True})
    assert titles(operator, "") == [] and len(titles(operator, "archived=true")) == 1


def test_runnable_names_the_gate_that_is_closed(operator: Api, app: Flask, store: Engine) -> None:
    make(operator)
    answer: Any = operator.get("/tickets/MC-1/runnable").json
    assert answer["runnable"] is False
    assert [gate["name"] for gate in answer["gates"] if not gate["ok"]] == ["owner"]
    operator.patch("/tickets/MC-1", {"version": 1, "assigned_to": "script"})
    assert operator.get("/tickets/MC-1/runnable").json["runnable"] is True  # type: ignore[index]


def test_relationships_are_seen_from_both_ends_and_may_be_taken_back(operator: Api) -> None:
    make(operator)
    make(operator)
    relation: Any = operator.post("/tickets/MC-1/relationships", {"kind": "blocks", "ticket": "MC-2"}).json
    assert (relation["words"], relation["ticket"]) == ("blocks", "MC-2")
    other: Any = operator.get("/tickets/MC-2/relationships").json
    assert other["items"][0]["words"] == "blocked by"
    circle = operator.post("/tickets/MC-2/relationships", {"kind": "blocks", "ticket": "MC-1"})
    assert circle.status_code == 409
    assert operator.delete(f"/tickets/MC-2/relationships/{relation['id']}").status_code == 204
    assert operator.delete(f"/tickets/MC-2/relationships/{relation['id']}").status_code == 404


def test_context_is_linked_listed_and_unlinked(operator: Api) -> None:
    make(operator)
    linked: Any = operator.post("/tickets/MC-1/context", {"path": "notes/plan.md", "note": "the plan"}).json
    assert (linked["kind"], linked["path"], linked["note"]) == ("vault", "notes/plan.md", "the plan")
    assert operator.post("/tickets/MC-1/context", {"path": "notes/plan.md"}).status_code == 409
    assert operator.delete(f"/tickets/MC-1/context/{linked['id']}").status_code == 204
    assert operator.get("/tickets/MC-1/context").json == {"items": [], "next": None}


@pytest.mark.parametrize("path", ["../secrets", "a/../../b", "-rf", "a\x07b", ""])
def test_context_paths_that_could_mislead_are_refused(operator: Api, path: str) -> None:
    make(operator)
    assert operator.post("/tickets/MC-1/context", {"path": path}).status_code == 422


@pytest.mark.both_databases
def test_comments_come_newest_first_and_page(operator: Api) -> None:
    make(operator)
    for number in range(3):
        assert operator.post("/tickets/MC-1/comments", {"body": f"comment {number}"}).status_code == 201
    first: Any = operator.get("/tickets/MC-1/comments?limit=2").json
    rest: Any = operator.get(f"/tickets/MC-1/comments?limit=2&cursor={first['next']}").json
    assert [comment["body"] for comment in first["items"] + rest["items"]] == ["comment 2", "comment 1", "comment 0"]
    assert rest["next"] is None


def test_a_run_writes_a_limited_number_of_comments(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MAX_RUN_COMMENTS", 2)
    answers = [worker.post(f"/tickets/{worker.ticket}/comments", {"body": f"comment {n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 413]
    assert "A run may write 2 comments." in answers[-1].json["message"]  # type: ignore[index]


def test_a_message_waits_for_the_agent_and_now_is_refused_while_it_is_busy(
    app: Flask, store: Engine, operator: Api
) -> None:
    worker = start(app, store)
    path = f"/tickets/{worker.ticket}/messages"
    assert operator.post(path, {"body": "Use the new name."}).json["state"] == "queued"  # type: ignore[index]
    answer = operator.post(path, {"body": "Now!", "mode": "now"})
    assert (answer.status_code, answer.json["error"]) == (409, "runtime_busy")  # type: ignore[index]
    listed: Any = operator.get(path).json
    assert [message["body"] for message in listed["items"]] == ["Use the new name."]


def test_the_team_is_listed_and_grows(operator: Api) -> None:
    profile = {"name": "claude_opus_1m_high", "program": "claude", "effort": "high", "context_size": 1_000_000}
    assert operator.post("/profiles", profile).status_code == 201
    member = {"name": "luci", "runnable": True, "profile": "claude_opus_1m_high", "capacity": 3}
    assert operator.post("/agents", member).json["capacity"] == 3  # type: ignore[index]
    assert operator.post("/agents", member).status_code == 409
    project = {"slug": "site", "name": "Site", "folder": "/srv/site", "check_command": ["make", "test"]}
    assert operator.post("/projects", project).json["check_command"] == ["make", "test"]  # type: ignore[index]
    assert operator.post("/projects", {**project, "slug": "other", "folder": "srv/../etc"}).status_code == 422
    assert "luci" in [agent["name"] for agent in operator.get("/agents").json["items"]]  # type: ignore[index]


def test_health_says_what_is_wrong(operator: Api, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    health: Any = operator.get("/health").json
    assert (health["verdict"], health["causes"]) == ("working", []), "the first checks are about to be made"
    monkeypatch.setattr(start_grace, "START_SECONDS", 0.0)
    with writing(store) as session:
        tasks.record_heartbeat(session, tasks.SCHEDULER, "ok")
    health = operator.get("/health").json
    assert health["verdict"] == "not working"
    assert health["reasons"][0].startswith("Health checks are not running. Start the scheduler")
    assert {"disk", "web", "event-log", "check-age"} <= {check["name"] for check in health["checks"]}
