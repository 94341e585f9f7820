"""Fixtures of the browser tests: the real application on a real server, and a logged-in Chromium."""

from __future__ import annotations

import http.client
import io
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from sqlalchemy import Engine, update
from werkzeug.serving import WSGIRequestHandler, make_server

import auth
from app import create_app
from database import reading, writing
from models import Landing, Run, Scope, TaskOutcome, Trigger, now
from settings import Settings
from tests.web.conftest import Staged
from tests.web.conftest import stage as stage
from tests.web.served_board import HOST, Stage, name_board
from tests.workers.repositories import commit, create_repository, git
from tickets.conversation import attachments
from tickets.conversation import context as links
from tickets.conversation.context import NewContext
from tickets.lifecycle import editing, transitions
from tickets.lifecycle.schemas import build_ticket_json
from tickets.operations import incidents, tokens
from tickets.runs import claims, heartbeat, ingest, landing_results, reports
from tickets.schedule import tasks
from tickets.shared.actors import Actor
from tickets.shared.inputs import EditTicket, NewTicket
from tickets.shared.lookup import get_ticket
from tickets.team import projects
from tickets.team.projects import NewProject
from tickets.workflow import landing, relationships
from workers.repository import observe

OPERATOR = Actor.human("operator")
PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "board-light.png"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP board.test 127.0.0.1",
]
"""Chromium options without background traffic, and with a host name other than the loopback's, as in a private network."""

expect.set_options(timeout=15_000)
"""Milliseconds, long enough for a loaded machine."""


def log_in(base: str, token: str) -> Any:
    """Log in with a token through the page, and return the cookie."""
    address = urlsplit(base)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)
    connection.request("GET", "/login", headers={"Host": address.netloc})
    csrf = connection.getresponse().read().decode().split('name="csrf" value="')[1].split('"')[0]
    headers = {"Host": address.netloc, "Origin": base, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", urlencode({"token": token, "csrf": csrf}), headers)
    response = connection.getresponse()
    assert (response.status, response.headers["Location"]) == (303, "/"), response.read()
    name, _, value = response.headers["Set-Cookie"].split(";")[0].partition("=")
    connection.close()
    return {"name": name, "value": value, "url": base}


@dataclass
class BoardSite:
    """A served instance, with methods that change its data."""

    app: Flask
    base: str
    token: str
    numbers: dict[int, int] = field(default_factory=dict)

    @property
    def store(self) -> Engine:
        instance: auth.Instance = self.app.extensions["mission_control"]
        return instance.engine

    def cookie(self, token: str | None = None) -> Any:
        """Return the cookie of a browser that has logged in with the token."""
        return log_in(self.base, token or self.token)

    def person(self, name: str) -> Any:
        """Return the cookie of another person with the same rights."""
        with writing(self.store) as session:
            token = tokens.issue_token(session, tokens.NewToken(name=name, scope=Scope.OPERATOR), OPERATOR)[1]
        return self.cookie(token)

    def edit(self, identifier: str, **fields: Any) -> None:
        """Edit a ticket as another person."""
        with writing(self.store) as session:
            ticket = get_ticket(session, identifier)
            body = EditTicket.model_validate({"version": ticket.version, **fields})
            editing.edit_ticket(session, ticket, body, Actor.human("bob"))

    def load_ticket(self, identifier: str) -> dict[str, Any]:
        """Return the JSON of a ticket."""
        with reading(self.store) as session:
            return build_ticket_json(session, [get_ticket(session, identifier)])[0]

    def ticket(self, **facts: Any) -> str:
        body = NewTicket.model_validate({"title": "Write a line", "assigned_to": "script", **facts})
        with writing(self.store) as session:
            return transitions.create_ticket(session, body, OPERATOR).identifier

    def move(self, identifier: str, name: str, /, **facts: Any) -> None:
        with writing(self.store) as session:
            transitions.transition(session, get_ticket(session, identifier).id, name, OPERATOR, **facts)

    def claim(self, identifier: str) -> int:
        with writing(self.store) as session:
            return claims.claim_ticket(session, get_ticket(session, identifier).id, "here").run.id

    def report_verdict(self, identifier: str, verdict: str) -> None:
        """Make a run report this verdict: `question` or `review`."""
        run = self.claim(identifier)
        with writing(self.store) as session:
            report = reports.RunReport.model_validate({"verdict": verdict, "summary": "Well?"})
            reports.apply_report(session, run, report, reports.RetryPolicy())

    def beat(self, run_id: int, state: str) -> None:
        with writing(self.store) as session:
            heartbeat.record_heartbeat(session, run_id, heartbeat.RunHeartbeat.model_validate({"state": state}))

    def trouble(self) -> None:
        """Create an incident, a failed task, and a heartbeat."""
        with writing(self.store) as session:
            incidents.raise_incident(session, "tmux", "tmux does not answer", "It was asked three times.")
            tasks.record_run(
                session, "backup", Trigger.TIMER, TaskOutcome.FAILED, now(), exit_code=1, output_tail="No space"
            )
            tasks.record_heartbeat(session, "scheduler", "ok", "{}")

    def change(self, run_id: int, folder: Path) -> None:
        """Commit as the run on its own branch: one line changed, one file added."""
        repo = create_repository(folder, greet="echo Hello\n")
        base = git(repo, "rev-parse", "HEAD")
        git(repo, "switch", "--quiet", "--create", "mc/greet")
        commit(repo, "Greet better", greet="echo Hi\n", new="1\n2\n")
        self.worked_in(run_id, repo, base)

    def worked_in(self, run_id: int, repo: Path, base: str) -> None:
        """Record that the run has committed to the branch `mc/greet`, based on this commit."""
        place = {"repository": str(repo), "branch": "mc/greet", "base_sha": base, "host": socket.gethostname()}
        with writing(self.store) as session:
            session.execute(update(Run).where(Run.id == run_id).values(**place))

    def hand_in(self, folder: Path, landing: str = "merge") -> str:
        """Create a ticket in review, with a commit on its own branch, in a project with this landing policy."""
        repo = create_repository(folder, greet="echo Hello\n")
        with writing(self.store) as session:
            body = NewProject(slug=folder.name, name="Web", folder=str(repo), landing=Landing(landing))
            projects.add_project(session, body, OPERATOR)
        ticket = self.ticket(project=folder.name, title="Greet better")
        run, base = self.claim(ticket), git(repo, "rev-parse", "main")
        git(repo, "switch", "--quiet", "--create", f"mc/{ticket}")
        commit(repo, "Greet better", greet="echo Hi\n")
        observations = observe.observe(repo, base)
        git(repo, "switch", "--quiet", "main")
        place = {"repository": str(repo), "branch": f"mc/{ticket}", "base_sha": base}
        with writing(self.store) as session:
            claims.record_workspace(session, run, host=socket.gethostname(), **place)
            report = reports.RunReport(verdict="review", summary="Better.", observations=observations)
            reports.apply_report(session, run, report, reports.RetryPolicy())
        return ticket

    def fail_landing(self, ticket: str) -> None:
        """Approve a ticket and make its landing fail."""
        with writing(self.store) as session:
            approved = transitions.transition(session, get_ticket(session, ticket).id, "approve", OPERATOR)
            plan = landing.get_plan(approved)
            assert plan is not None
            landing_results.record_failure(
                session, approved.id, plan, "The disk is full. Make room, then approve again."
            )

    def furnish(self, identifier: str) -> None:
        """Add an image, a text and another file, one of them as evidence, a relationship, and links of every kind."""
        folder = self.app.extensions["mission_control"].settings.attachments_dir
        for name, content, summary in (
            ("board.png", PICTURE.read_bytes(), "The board as it looks now"),
            ("check.log", b"ok\n", ""),
            ("plan.pdf", b"%PDF-1.7", ""),
        ):
            stored_file = attachments.receive_file(folder, io.BytesIO(content), name, 1 << 20)
            with writing(self.store) as session:
                upload = attachments.Upload(summary=summary, item=0 if summary else None)
                attachments.add_attachment(
                    session, get_ticket(session, identifier).id, stored_file, upload, OPERATOR, 10
                )
        other = self.ticket(title="Translate the greeting")
        with writing(self.store) as session:
            ticket = get_ticket(session, identifier)
            relationships.relate(session, ticket.id, "blocked_by", get_ticket(session, other).id, OPERATOR)
            for kind, path in (("vault", "notes/plan.md"), ("file", "greet.txt"), ("url", "https://docs.invalid/")):
                link = NewContext.model_validate({"kind": kind, "path": path, "title": "T", "note": "Why"})
                links.add_context(session, ticket.id, link, OPERATOR)

    def tell(self, run_id: int, event_type: str, /, **payload: Any) -> None:
        """Post an event of a run like its wrapper."""
        self.numbers[run_id] = self.numbers.get(run_id, 0) + 1
        event = {"run_seq": self.numbers[run_id], "ts": datetime.now(UTC), "event_type": event_type, "payload": payload}
        with writing(self.store) as session:
            ingest.ingest_events(session, run_id, [ingest.WorkerEvent.model_validate(event)])


@pytest.fixture
def url(template: Path, tmp_path: Path) -> str:
    shutil.copy(template, tmp_path / "mc.db")
    return f"sqlite:///{tmp_path / 'mc.db'}"


# The server notices only with the next sign of life that a page has gone.
STREAM_SETTINGS = {"sse_heartbeat_seconds": 2, "sse_max_total_clients": 40, "threads": 64}


@dataclass(frozen=True)
class AppServer:
    """An application that is built once and served to all tests, each with its own home and database."""

    app: Flask
    base: str

    def bind(self, home: Path, url: str) -> auth.Instance:
        """Serve this home and database from now on."""
        settings = Settings(home=home, database_url=url, **STREAM_SETTINGS)
        settings.ensure_home()
        name_board(home)
        instance = auth.open_instance(settings)
        self.app.extensions["mission_control"] = instance
        return instance

    def release(self, instance: auth.Instance) -> None:
        """Close the streams, WebSockets and database connections of an instance."""
        streams = self.app.extensions.pop("streams", None)
        if streams is not None:
            streams.tailer.stop()
        self.app.extensions.pop("sockets", None)
        instance.engine.dispose()


@pytest.fixture(scope="session")
def app_server(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[AppServer]:
    home = tmp_path_factory.mktemp("app")
    app = create_app(Settings(home=home, database_url=f"sqlite:///{template}", **STREAM_SETTINGS))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield AppServer(app, f"http://{HOST}:{server.server_port}")
    server.shutdown()
    thread.join(5)


class QuietHandler(WSGIRequestHandler):
    """A request handler without an access log."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing."""


@pytest.fixture
def site(app_server: AppServer, url: str, tmp_path: Path) -> Iterator[BoardSite]:
    instance = app_server.bind(tmp_path / "home", url)
    new_site = BoardSite(app_server.app, app_server.base, "")
    with writing(new_site.store) as session:
        body = tokens.NewToken(name="browser", scope=Scope.OPERATOR)
        new_site.token = tokens.issue_token(session, body, OPERATOR)[1]
    yield new_site
    app_server.release(instance)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


OpenContext = Callable[..., BrowserContext]

EXPECTED_ERRORS = ("net::ERR_", "status of 4", "status of 5", "WebSocket connection to")
"""Console messages of the browser about failed requests, ignored since tests that provoke them check the page's message."""


def record_errors(context: BrowserContext, complaints: list[str]) -> None:
    """Record script errors and console errors, which include violations of the content security policy."""

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(words in message.text for words in EXPECTED_ERRORS):
            complaints.append(f"{message.text} ({message.location['url']})")

    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", hear)


@pytest.fixture
def open_context(chromium: Browser, site: BoardSite) -> Iterator[OpenContext]:
    """Factory of new, logged-in browser profiles (`open_context(**options)`). An error in the console fails the test.

    Service workers are blocked, since other tests cover them.
    """
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_one(**options: Any) -> BrowserContext:
        context = chromium.new_context(base_url=site.base, **({"service_workers": "block"} | options))
        contexts.append(context)
        record_errors(context, errors)
        context.add_cookies([site.cookie()])
        return context

    yield open_one
    for context in contexts:
        context.close()
    assert errors == []


CLEAR_STORAGE = "localStorage.clear(), sessionStorage.clear()"


class TabPool:
    """Pool of tabs by the options of their profile, reused by tests, since a new one takes as long as three page loads."""

    def __init__(self, browser: Browser, base: str) -> None:
        self._browser = browser
        self._base = base
        self._idle: dict[str, list[Page]] = {}
        self._lent: list[tuple[str, Page]] = []
        self.complaints: list[str] = []

    def lend(self, cookie: Any, **options: Any) -> Page:
        """Return a tab that is logged in with this cookie, without other state."""
        key = repr(sorted(options.items()))
        idle = self._idle.setdefault(key, [])
        page = idle.pop() if idle else self._open(options)
        self._lent.append((key, page))
        page.context.add_cookies([cookie])
        return page

    def _open(self, options: dict[str, Any]) -> Page:
        context = self._browser.new_context(base_url=self._base, **({"service_workers": "block"} | options))
        record_errors(context, self.complaints)
        return context.new_page()

    def take_back(self, is_reusable: bool) -> None:
        """Reset each lent tab for the next test, or close it if the test has failed."""
        for key, page in self._lent:
            if is_reusable and not page.is_closed():
                self._empty(page)
                self._idle[key].append(page)
            else:
                page.context.close()
        self._lent.clear()

    def _empty(self, page: Page) -> None:
        for other in page.context.pages:
            if other is not page:
                other.close()
        page.unroute_all()
        page.emulate_media(media="null")
        page.mouse.move(0, 0)
        page.goto("/healthz")  # of the same origin, and without a script
        page.evaluate(CLEAR_STORAGE)
        page.context.clear_cookies()


@pytest.fixture(scope="session")
def tab_pool(chromium: Browser, app_server: AppServer) -> TabPool:
    return TabPool(chromium, app_server.base)


Tab = Callable[..., Page]


@pytest.fixture
def tab(tab_pool: TabPool, site: BoardSite) -> Iterator[Tab]:
    """Factory of empty, logged-in tabs (`tab(**options)`). An error in the console fails the test.

    Tabs are reused, so a test that adds a clock, an init script or a listener to a page uses `opened` instead.
    """
    yield lambda **options: tab_pool.lend(site.cookie(), **options)
    complaints, tab_pool.complaints[:] = tab_pool.complaints[:], []
    tab_pool.take_back(is_reusable=not complaints)
    assert complaints == []


DESK = {"viewport": {"width": 1440, "height": 900}}


@pytest.fixture
def page(tab: Tab) -> Page:
    """A tab of desktop size."""
    return tab(**DESK)


@pytest.fixture
def board(stage: Staged) -> Stage:
    """Board served as deployed, which can be killed and restarted."""
    return stage(WS_MAX_CLIENTS=8)


@contextmanager
def logged_in(chromium: Browser, board: Stage, name: str, **options: Any) -> Iterator[BrowserContext]:
    """Open a browser profile in which a person is logged in. An error in the console fails the test."""
    errors: list[str] = []
    base = {"base_url": f"http://{HOST}:{board.port}", "service_workers": "block"}
    with chromium.new_context(**(base | options)) as context:
        record_errors(context, errors)
        context.add_cookies([log_in(base["base_url"], board.person(name))])
        yield context
    assert errors == []


Visit = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser, board: Stage) -> Iterator[Visit]:
    """Factory of tabs of a logged-in person (`visit(name, path, **options)`). An error in the console fails the test."""
    with ExitStack() as stack:

        def open_one(name: str, path: str, **options: Any) -> Page:
            page = stack.enter_context(logged_in(chromium, board, name, **options)).new_page()
            page.goto(path)
            return page

        yield open_one
