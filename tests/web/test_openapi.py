"""The document is what the server does: every route is in it, and generated requests find no answer that is not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as bounded
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine

from auth import Right
from web import blueprints
from web.api.openapi import build_document
from web.api.openapi import format_path as described
from web.api.request_body import EVENTS
from web.api.resource import PREFIX, ROUTES, Route

from .conftest import Api, start

blueprints()  # declares the routes
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STREAMS = ("stream", "tickets/{ticket}/stream", "tickets/{ticket}/tail")
MAX_EXAMPLES = 8
"""For each operation, always the same ones: more of them take time in every run and find nothing new in any."""
UNDESCRIBED = {"api_docs.show_document"}


@pytest.fixture
def url(template: Path, tmp_path: Path) -> Iterator[str]:
    shutil.copy(template, tmp_path / "mc.db")
    yield f"sqlite:///{tmp_path / 'mc.db'}"


def test_every_route_of_the_api_is_described(app: Flask) -> None:
    listed = {(method.upper(), path) for path, methods in build_document()["paths"].items() for method in methods}
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(PREFIX) and rule.endpoint not in UNDESCRIBED
    }
    assert listed == routes


def test_the_document_is_valid_and_every_operation_is_named_once() -> None:
    schemathesis.openapi.from_dict(build_document()).validate()
    names = [
        operation["operationId"] for methods in build_document()["paths"].values() for operation in methods.values()
    ]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for methods in build_document()["paths"].values() for operation in methods.values())


def test_streams_are_described_with_their_types_and_refusals() -> None:
    paths = build_document()["paths"]
    everything, one, pane = (paths[f"/api/v1/{path}"]["get"] for path in STREAMS)

    for stream in (everything, one, pane):
        assert set(stream["responses"]) == {"200", "400", "401", "403", "404", "422", "503"}
        assert EVENTS in stream["responses"]["200"]["content"] and EVENTS in stream["responses"]["503"]["content"]
        assert "Last-Event-ID" in [
            parameter["name"] for parameter in stream["parameters"] if parameter["in"] == "header"
        ]
    assert "text/plain" in pane["responses"]["200"]["content"]
    parameter_names = [{parameter["name"] for parameter in stream["parameters"]} for stream in (everything, one, pane)]
    assert [names - {"Last-Event-ID", "last_event_id"} for names in parameter_names] == [
        {"tickets"}, {"ticket"}, {"ticket", "follow", "lines"},
    ]  # fmt: skip


def test_the_document_is_served_and_readable(operator: Api, browser: FlaskClient) -> None:
    assert operator.get("/openapi.json").json == build_document()
    page = browser.get("/api/docs").text
    assert "POST /api/v1/tickets/{ticket}/moves" in page and "park" in page


@pytest.fixture
def lively(app: Flask, store: Engine, operator: Api) -> Api:
    """A store with something of each kind, so that generated numbers hit something."""
    start(app, store)
    operator.post("/tickets", {"title": "Another", "tags": ["bug"]})
    operator.post("/tickets/1/comments", {"body": "Hello"})
    operator.post("/tickets/1/messages", {"body": "Hello"})
    operator.post("/tickets/1/context", {"path": "notes/plan.md"})
    operator.post("/tickets/1/relationships", {"kind": "blocks", "ticket": "MC-2"})
    return operator


def order(route: Route) -> tuple[bool, str, str]:
    """Removals come last, so that the others find something."""
    return route.method == "DELETE", route.method, described(route)


OPERATIONS = sorted((route for route in ROUTES if EVENTS not in route.media), key=order)
"""Operations whose answer ends: a generated request could wait for a stream for ever."""


@pytest.mark.slow
def test_no_generated_request_finds_an_undescribed_answer(app: Flask, lively: Api) -> None:
    assert offenders(app, lively, OPERATIONS) == []


@pytest.mark.slow
def test_no_request_of_a_run_finds_one_either(app: Flask, store: Engine) -> None:
    worker = start(app, store)
    operations = [route for route in OPERATIONS if Right.RUN in route.rights]
    assert offenders(app, worker, operations, {"ticket": worker.ticket, "run": worker.run}) == []


def offenders(app: Flask, caller: Api, routes: list[Route], own: dict[str, Any] | None = None) -> list[str]:
    """Send generated requests to each operation and list what is wrong; `own` replaces what a path would name."""
    headers = {"Authorization": f"Bearer {caller.token}"}
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app, headers=headers)
    problems = []
    for route in routes:
        try:
            probe_operation(schema[described(route)][route.method], headers, own or {})
        except (Exception, FailureGroup) as problem:
            problems.append(f"{route.method} {described(route)}: {problem!r}")
    return problems


def probe_operation(operation: Any, headers: dict[str, str], own: dict[str, Any]) -> None:
    @seed(20260101)
    @bounded(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def probe(case: Any) -> None:
        case.path_parameters |= {name: value for name, value in own.items() if name in case.path_parameters}
        case.call_and_validate(headers=headers, checks=CHECKS)

    probe()
