"""Scheduled tasks for programs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from database import reading, writing
from models import TaskOutcome, Trigger, now
from tickets.operations import tasks

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


@pytest.mark.parametrize("order", ["runs", "run", "enable", "disable"])
def test_a_task_that_is_unknown_is_not_found(operator: Api, order: str) -> None:
    path = f"/tasks/nothing/{order}"

    assert (operator.get(path) if order == "runs" else operator.post(path, None)).status_code == 404


def test_a_viewer_gives_no_orders(viewer: Api) -> None:
    assert viewer.get("/tasks").status_code == 200
    assert viewer.post("/tasks/backup/disable", None).status_code == 403
