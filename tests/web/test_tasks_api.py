"""Scheduled tasks for programs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from database import reading, writing
from models import TaskOutcome, Trigger, now
from settings import Settings
from tickets.schedule import ledger, task_files, tasks

from .conftest import Api


def items(api: Api, path: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = api.get(path).get_json()["items"]
    return entries


def listed(api: Api, name: str) -> dict[str, Any]:
    return next(item for item in items(api, "/tasks") if item["name"] == name)


def test_tasks_are_listed_with_their_newest_run(operator: Api, store: Engine) -> None:
    with writing(store) as session:
        for outcome in (TaskOutcome.FAILED, TaskOutcome.ACTED):
            tasks.record_run(session, "backup", Trigger.TIMER, outcome, now())

    task = listed(operator, "backup")

    assert (task["enabled"], task["latest"]["outcome"]) == (True, "acted")
    assert task["schedule"] and task["due"] and task["description"]
    assert [run["outcome"] for run in items(operator, "/tasks/backup/runs")] == ["acted", "failed"]


def test_a_task_is_disabled_and_enabled(operator: Api) -> None:
    for order, enabled in (("disable", False), ("enable", True)):
        assert operator.post(f"/tasks/backup/{order}", None).status_code == 204
        assert listed(operator, "backup")["enabled"] is enabled


def test_a_task_is_run_where_a_scheduler_hears_it(operator: Api, store: Engine) -> None:
    answer = operator.post("/tasks/backup/run", None)
    assert (answer.status_code, answer.get_json()["error"]) == (409, "conflict")
    with writing(store) as session:
        tasks.record_heartbeat(session, "scheduler", "ok")

    assert operator.post("/tasks/backup/run", None).status_code == 204
    with reading(store) as session:
        assert tasks.list_requested(session, 0)[1] == {"backup"}


def test_a_task_is_created_and_edited_and_its_ledger_is_read(
    operator: Api, viewer: Api, store: Engine, settings: Settings
) -> None:
    body = {"schedule": "0 8 * * 1-5", "ticket": {"title": "Read"}, "prompt": "Look.", "catch_up": "all"}
    created = operator.post("/tasks", body)
    assert (created.status_code, created.get_json()["name"]) == (201, "read")
    assert operator.post("/tasks", body | {"name": "read"}).status_code == 409
    assert operator.post("/tasks", body | {"command": ["true"]}).status_code == 422
    assert operator.post("/tasks", body | {"schedule": "never"}).get_json()["detail"]["fields"].keys() == {"schedule"}
    assert viewer.post("/tasks", body).status_code == 403
    changes = {"ticket": None, "command": ["true"], "zone": "Europe/Berlin"}
    edited = operator.patch("/tasks/read", changes).get_json()
    assert (edited["command"], edited["ticket"], edited["zone"]) == (["true"], None, "Europe/Berlin")
    assert (edited["catch_up"], edited["is_shipped"], edited["last_work"]) == ("all", False, None)
    assert operator.patch("/tasks/backup", {"schedule": "* * * * *"}).status_code == 409
    with writing(store) as session:
        task = task_files.require("read", settings.tasks_dir)
        slot = ledger.begin_slot(session, task, "here", Trigger.TIMER, now(), now())
        ledger.end_slot(session, slot.id, now(), TaskOutcome.ACTED)
    [item] = items(viewer, "/tasks/read/slots")
    assert (item["did_work"], item["count"], item["reason"]) == (True, 1, None)
    assert viewer.get("/tasks/read").get_json()["last_work"]


@pytest.mark.parametrize("order", ["runs", "run", "enable", "disable"])
def test_a_task_that_is_unknown_is_not_found(operator: Api, order: str) -> None:
    path = f"/tasks/nothing/{order}"

    assert (operator.get(path) if order == "runs" else operator.post(path, None)).status_code == 404


def test_a_viewer_gives_no_orders(viewer: Api) -> None:
    assert viewer.get("/tasks").status_code == 200
    assert viewer.post("/tasks/backup/disable", None).status_code == 403
