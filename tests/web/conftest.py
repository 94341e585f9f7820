"""Fixtures of the web tests: the application on the test's own database, and clients of every kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.test import TestResponse

import auth
from app import bind_app, build_app
from database import writing
from models import Scope
from settings import Settings
from tickets.lifecycle import transitions
from tickets.operations import tokens
from tickets.runs import claims
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket

from .served_board import Stage, staged

SYSTEM = Actor.system("test")
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
PLAIN = "http://127.0.0.1:3001"
"""The address of programs, at which no browser logs in."""


class BrowserClient(FlaskClient):
    """A client that comes to the secret name of the board unless a request names another address."""

    @property
    def host(self) -> str:
        instance: auth.Instance = self.application.extensions["mission_control"]
        return instance.secret_host

    def open(self, *args: Any, **request: Any) -> TestResponse:
        return super().open(*args, **{"base_url": f"http://{self.host}"} | request)

    def set_cookie(self, key: str, value: str = "", *, domain: str | None = None, **options: Any) -> None:
        super().set_cookie(key, value, domain=domain or self.host, **options)

    def get_cookie(self, key: str, domain: str | None = None, path: str = "/") -> Any:
        return super().get_cookie(key, domain or self.host, path)


@dataclass(frozen=True)
class Api:
    """An API client with a token."""

    client: FlaskClient
    token: str

    def call(self, method: str, path: str, **request: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}", **request.pop("headers", {})}
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **request)

    def get(self, path: str, **request: Any) -> TestResponse:
        return self.call("GET", path, **request)

    def post(self, path: str, body: Any = None, **request: Any) -> TestResponse:
        return self.call("POST", path, **({"json": body} if body is not None else {}), **request)

    def patch(self, path: str, body: Any) -> TestResponse:
        return self.call("PATCH", path, json=body)

    def delete(self, path: str) -> TestResponse:
        return self.call("DELETE", path)


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=url)


@pytest.fixture(scope="session")
def built_app() -> Flask:
    """Application of this process, built once, since routes and templates are the same for every test."""
    app = build_app()
    app.test_client_class = BrowserClient
    return app


@pytest.fixture
def app(built_app: Flask, settings: Settings) -> Iterator[Flask]:
    bind_app(built_app, settings)
    yield built_app
    built_app.extensions["mission_control"].engine.dispose()
    shutil.rmtree(settings.sockets_dir, ignore_errors=True)


@pytest.fixture
def store(app: Flask) -> Engine:
    instance: auth.Instance = app.extensions["mission_control"]
    return instance.engine


def issue(store: Engine, scope: str, name: str | None = None) -> str:
    with writing(store) as session:
        body = tokens.NewToken(name=name or f"the-{scope}", scope=Scope(scope))
        return tokens.issue_token(session, body, SYSTEM)[1]


@pytest.fixture
def operator(app: Flask, store: Engine) -> Api:
    return Api(app.test_client(), issue(store, "operator"))


@pytest.fixture
def viewer(app: Flask, store: Engine) -> Api:
    return Api(app.test_client(), issue(store, "viewer"))


@pytest.fixture
def service(app: Flask, store: Engine) -> Api:
    return Api(app.test_client(), issue(store, "service"))


@pytest.fixture
def orchestrator(app: Flask, store: Engine) -> Api:
    return Api(app.test_client(), issue(store, "orchestrator"))


@dataclass(frozen=True)
class Worker(Api):
    """The wrapper of a run that has claimed a ticket."""

    run: int
    ticket: str


def start(app: Flask, store: Engine, **facts: Any) -> Worker:
    """Claim a ticket for a run and return its wrapper."""
    body = NewTicket.model_validate({"title": "Write a line", "assigned_to": "script", **facts})
    with writing(store) as session:
        ticket = transitions.create_ticket(session, body, SYSTEM)
        claim = claims.claim_ticket(session, ticket.id, "here")
    return Worker(app.test_client(), claim.token, claim.run.id, ticket.identifier)


@pytest.fixture
def worker(app: Flask, store: Engine) -> Worker:
    return start(app, store)


@pytest.fixture
def browser(app: Flask, store: Engine) -> FlaskClient:
    """Browser of the operator, logged in by a link directly, since `test_auth` covers the log-in pages."""
    client = app.test_client()
    with writing(store) as session:
        secret = tokens.log_in_by_link(session, tokens.issue_login_link(session), "a test", 1)
    client.set_cookie(auth.get_cookie_name(app.extensions["mission_control"].settings), secret)
    return client


def csrf_token(client: FlaskClient) -> str:
    """Compute the CSRF token of this browser instead of reading a page (`test_origin_matrix` compares the two)."""
    name = auth.get_cookie_name(client.application.extensions["mission_control"].settings)
    cookie = client.get_cookie(name)
    headers = {"Cookie": f"{name}={cookie.value}"} if cookie else {}
    address = f"http://{client.application.extensions['mission_control'].secret_host}"
    with client.application.test_request_context(headers=headers, base_url=address):
        g.caller = auth.identify()
        return auth.make_csrf_token()


def form_token(client: FlaskClient, path: str) -> str:
    """Read the CSRF token from the forms of a page."""
    page = client.get(path).get_data(as_text=True)
    return page.split('name="csrf" value="')[1].split('"')[0]


Staged = Callable[..., Stage]


@pytest.fixture
def stage(template: Path, tmp_path: Path) -> Iterator[Staged]:
    """Serve a board with these settings: `stage(WS_MAX_CLIENTS=1)`."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(staged(template, tmp_path / "home", **settings))


@pytest.fixture(scope="module")
def module_stack() -> Iterator[ExitStack]:
    """Stack of the resources that a module shares, closed after its last test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def boards() -> list[Stage]:
    """Served board of a module, empty until a test needs it."""
    return []


@pytest.fixture
def board(
    boards: list[Stage], module_stack: ExitStack, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Served board that the tests of a module share, each with its own tickets, and without runs or clients left over.

    The module belongs to one `xdist_group`. The board checks every second whether its clients are still authorized.
    """
    if not boards:
        home = tmp_path_factory.mktemp("board") / "home"
        boards.append(module_stack.enter_context(staged(template, home, MC_TEST_RECHECK_SECONDS=1)))
    yield boards[0]
    boards[0].cut_off()
    boards[0].kill_runs()
