"""Whatever is sent, the answer is a designed one, and nothing is half written."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, func, select

import auth
from database import reading
from models import Base
from tickets.lifecycle import transitions

from .conftest import OWN_PAGE, Api, csrf_token, form_token


def rows(store: Engine) -> dict[str, int]:
    """How many rows each table has, but for the heartbeats, as every page looks whether the store can be written."""
    with reading(store) as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
            if name != "heartbeats"
        }


CASES: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("an unknown ticket", "GET /tickets/MC-99", {}, 404, "no_such_ticket"),
    ("an unknown state", "GET /tickets?status=sleeping", {}, 422, "invalid"),
    ("an unknown filter", "GET /tickets?colour=red", {}, 422, "invalid"),
    ("a query where there is none", "GET /agents?limit=3", {}, 422, "invalid"),
    ("a limit beyond the limit", "GET /tickets?limit=201", {}, 422, "invalid"),
    ("a limit that is none", "GET /tickets?limit=ten", {}, 422, "invalid"),
    ("an invented cursor", "GET /tickets?cursor=MC-1", {}, 422, "invalid"),
    ("a cursor of no day", "GET /tickets?cursor=2026-99-99T00:00:00.000000Z~1", {}, 422, "invalid"),
    ("a cursor of no comment", "GET /tickets/1/comments?cursor=-1", {}, 422, "invalid"),
    ("a NUL byte in a query", "GET /tickets?q=a%00b", {}, 422, "invalid"),
    ("a NUL byte in a path", "GET /tickets/MC-1%00", {}, 422, "invalid"),
    ("a NUL byte in a title", "POST /tickets", {"json": {"title": "a\x00b"}}, 422, "invalid"),
    ("a NUL byte as it is", "POST /tickets", {"data": b'{"title": "a\x00b"}'}, 422, "invalid"),
    ("half a letter", "POST /tickets", {"data": b'{"title": "\\ud800"}'}, 422, "invalid"),
    ("bytes that are no text", "POST /tickets", {"data": b'{"title": "\xff"}'}, 422, "invalid"),
    ("no body", "POST /tickets", {"data": b""}, 422, "invalid"),
    ("no JSON", "POST /tickets", {"data": b"title=x"}, 422, "invalid"),
    ("a list for an object", "POST /tickets", {"json": [1]}, 422, "invalid"),
    ("text for a number", "PATCH /tickets/1", {"json": {"version": "1"}}, 422, "invalid"),
    ("a number beyond 64 bits", "PATCH /tickets/1", {"json": {"version": 2**64}}, 422, "invalid"),
    ("an unknown field", "POST /tickets", {"json": {"title": "x", "status_": "done"}}, 422, "invalid"),
    ("an unknown owner", "POST /tickets", {"json": {"title": "x", "assigned_to": "nobody"}}, 422, "invalid"),
    ("an unknown project", "POST /tickets", {"json": {"title": "x", "project": "nowhere"}}, 404, "not_found"),
    ("a project that climbs", "POST /tickets", {"json": {"title": "x", "project": "../etc"}}, 422, "invalid"),
    ("an unknown parent", "POST /tickets", {"json": {"title": "x", "child_of": "MC-99"}}, 404, "no_such_ticket"),
    ("a body of another type", "POST /tickets", {"data": "title: x", "content_type": "text/yaml"}, 415, "unsupported_type"),
    ("an illegal move", "POST /tickets/1/moves", {"json": {"move": "approve"}}, 409, "illegal_move"),
    ("a stale version", "PATCH /tickets/1", {"json": {"version": 7, "title": "x"}}, 409, "stale_ticket"),
    ("a method of no route", "DELETE /tickets", {}, 405, "method_not_allowed"),
    ("an unknown route", "GET /nowhere", {}, 404, "not_found"),
    ("a run beyond 64 bits", "GET /runs/99999999999999999999", {}, 404, "not_found"),
    ("a run of no number", "GET /runs/0", {}, 404, "not_found"),
    ("an attachment that climbs", "GET /attachments/..%2f..%2fmc.db", {}, 404, "not_found"),
]  # fmt: skip


def test_each_fault_has_its_answer_and_leaves_nothing(operator: Api, store: Engine) -> None:
    operator.post("/tickets", {"title": "Before"})
    before = rows(store)
    for fault, request_line, arguments, status, code in CASES:
        method, path = request_line.split(" ", 1)
        arguments = {"content_type": "application/json", **arguments} if "data" in arguments else arguments
        answer = operator.call(method, path, **arguments)
        problem: Any = answer.json
        assert (answer.status_code, problem["error"]) == (status, code), (fault, answer.text)
        assert set(problem) == {"error", "message", "detail"} and problem["message"], fault
        assert rows(store) == before, fault


NAMES = [
    "..", "../1", "..%2f1", "MC-1/../MC-2", "mc-1", "MC-01", "-1", "MC-1;", "MC-1' OR '1'='1", "１", "MC-" + "9" * 40,
]  # fmt: skip


def test_no_name_but_an_identifier_finds_a_ticket(operator: Api) -> None:
    operator.post("/tickets", {"title": "Before"})
    for name in NAMES:
        answer = operator.get(f"/tickets/{name}")
        assert answer.status_code == 404 and answer.json is not None, name


@pytest.mark.both_databases
def test_ten_megabytes_are_refused_before_they_are_read(operator: Api, store: Engine) -> None:
    before = rows(store)
    body = b'{"title": "' + b"x" * (10 << 20) + b'"}'
    answer = operator.post("/tickets", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["error"]) == (413, "too_large")  # type: ignore[index]
    assert rows(store) == before


def test_a_body_that_was_cut_off_is_no_shorter_form(browser: FlaskClient, operator: Api, store: Engine) -> None:
    """Regression: half of a message was stored, and its sender told that it was sent."""
    ticket = operator.post("/tickets", {"title": "Write a line"}).get_json()["identifier"]
    data = urlencode({"csrf": csrf_token(browser), "mode": "comment", "body": "The beginning. The end."}).encode()
    before = rows(store)
    answer = browser.post(
        f"/ticket/{ticket}/say",
        input_stream=BytesIO(data[:-8]),
        content_type="application/x-www-form-urlencoded",
        headers=OWN_PAGE,
        environ_overrides={"CONTENT_LENGTH": str(len(data)), "wsgi.input_terminated": True},  # as gunicorn says
    )
    assert (answer.status_code, rows(store)) == (400, before)


def test_each_wrong_field_is_named(operator: Api) -> None:
    answer: Any = operator.post("/tickets", {"title": "", "priority": "soon", "acceptance": [{"txt": "x"}]}).json
    assert {"title", "priority", "acceptance.0.text", "acceptance.0.txt"} == set(answer["detail"]["fields"])


def test_a_fault_of_ours_tells_a_reference_and_no_more(
    operator: Api, store: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = transitions.create_ticket

    def fail_after_writing(*arguments: Any) -> None:
        real(*arguments)
        raise RuntimeError("the secret detail")

    monkeypatch.setattr(transitions, "create_ticket", fail_after_writing)
    before = rows(store)
    answer = operator.post("/tickets", {"title": "Half done"})
    assert answer.status_code == 500 and "secret" not in answer.text
    assert answer.json["reference"] in caplog.text and "the secret detail" in caplog.text  # type: ignore[index]
    assert rows(store) == before


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_disk_is_said_to_be_so_and_reading_goes_on(operator: Api, store: Engine) -> None:
    """Regression: a store that cannot be written answered as a fault of the program, readers included.

    The page limit that stands for a full disk is SQLite's.
    """
    operator.post("/tickets", {"title": "Before"})
    event.listen(store, "connect", lambda connection, _record: connection.execute("PRAGMA max_page_count=1"))
    store.dispose()
    before = rows(store)
    answer = operator.post("/tickets", {"title": "Large", "description": "x" * 90_000})
    assert (answer.status_code, answer.json["error"]) == (503, "store_unavailable")  # type: ignore[index]
    assert rows(store) == before and operator.get("/tickets").status_code == 200


def test_people_get_a_page_and_programs_get_json(browser: FlaskClient, operator: Api) -> None:
    page = browser.get("/ticket/MC-99")
    assert page.status_code == 404 and page.mimetype == "text/html"
    assert "There is no ticket with that identifier." in page.text
    answer = browser.get("/nowhere", headers={"Authorization": f"Bearer {operator.token}"})
    assert answer.mimetype == "application/json"


@pytest.mark.both_databases
def test_a_cursor_of_no_day_is_refused_by_the_board_too(browser: FlaskClient) -> None:
    assert browser.get("/board?view=columns&column=inbox&cursor=2026-99-99T00:00:00.000000Z~1").status_code == 422


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "path",
    [
        f"/{page}={'9' * 30}"
        for page in (
            "ticket/MC-1?before",
            "ticket/MC-1?tab=events&before",
            "ticket/MC-1/part/conversation?after",
            "activity?before",
        )
    ],
)
def test_a_page_refuses_a_number_that_no_store_holds(browser: FlaskClient, operator: Api, path: str) -> None:
    operator.post("/tickets", {"title": "Before"})
    assert browser.get(path).status_code == 422


def test_a_stranger_is_told_nothing_but_the_refusal(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/nowhere").text == "There is nothing at this address.\n"
    assert client.post("/logout", headers=OWN_PAGE).status_code == 401


def test_an_error_page_keeps_the_frame_and_its_form_token(browser: FlaskClient) -> None:
    missing, board = (auth.unmask_csrf_token(form_token(browser, path)) for path in ("/nowhere", "/board"))
    assert missing == board


def test_allowed_methods_are_named(operator: Api) -> None:
    assert "POST" in operator.delete("/tickets").headers["Allow"]
