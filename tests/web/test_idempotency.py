"""A write repeated with its key is answered as before and not done again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from .conftest import Api, issue

KEY = {"Idempotency-Key": "7c1f"}


def count(operator: Api) -> int:
    page: Any = operator.get("/tickets?limit=200").json
    return len(page["items"])


@pytest.mark.both_databases
def test_the_same_request_is_done_once(operator: Api) -> None:
    first = operator.post("/tickets", {"title": "Once"}, headers=KEY)
    again = operator.post("/tickets", {"title": "Once"}, headers=KEY)
    assert (first.status_code, first.json) == (again.status_code, again.json)
    assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
    assert count(operator) == 1


def test_another_request_with_the_key_is_refused(operator: Api) -> None:
    operator.post("/tickets", {"title": "Once"}, headers=KEY)
    for path, body in (("/tickets", {"title": "Twice"}), ("/tickets/MC-1/comments", {"body": "Once"})):
        answer = operator.post(path, body, headers=KEY)
        assert (answer.status_code, answer.json["error"]) == (409, "idempotency_key_reused")  # type: ignore[index]
    assert count(operator) == 1


@pytest.mark.both_databases
def test_a_refused_write_may_be_repeated(operator: Api) -> None:
    body = {"title": "Later", "assigned_to": "luci"}
    assert operator.post("/tickets", body, headers=KEY).status_code == 422
    operator.post("/agents", {"name": "luci"})
    assert operator.post("/tickets", body, headers=KEY).status_code == 201


def test_keys_of_different_callers_do_not_meet(operator: Api, service: Api) -> None:
    assert operator.post("/tickets", {"title": "Mine"}, headers=KEY).status_code == 201
    assert service.post("/tickets", {"title": "Ours"}, headers=KEY).status_code == 201


@pytest.mark.both_databases
def test_eight_at_once_make_one_ticket(app: Flask, store: Engine, operator: Api) -> None:
    token = issue(store, "operator", "eager")

    def create(_number: int) -> str:
        answer = Api(app.test_client(), token).post("/tickets", {"title": "Once"}, headers=KEY)
        return str(answer.json["identifier"])  # type: ignore[index]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(create, range(8))) == {"MC-1"}
    assert count(operator) == 1


def test_a_secret_is_never_kept_for_repetition(operator: Api) -> None:
    body = {"name": "other", "scope": "viewer"}
    assert operator.post("/tokens", body, headers=KEY).status_code == 201
    assert operator.post("/tokens", body, headers=KEY).status_code == 409


def test_a_key_that_cannot_be_one_is_refused(operator: Api) -> None:
    for key in ("", "x" * 201):
        assert operator.post("/tickets", {"title": "x"}, headers={"Idempotency-Key": key}).status_code == 422
