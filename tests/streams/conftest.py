"""Fixtures of a real gunicorn, configured as deployed, on the test's own database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from database import open_engine, writing
from models import Scope
from tests.ports import free_port
from tests.waiting import wait_until
from tickets.lifecycle import transitions
from tickets.operations import tokens
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket

from .client import Client

ROOT = Path(__file__).resolve().parents[2]
ALICE = Actor.human("alice")


class Server:
    """A gunicorn server on a free loopback port, by default with one worker."""

    application = "tests.streams.wsgi:preload()"
    sign = "/page"

    def __init__(self, home: Path, **settings: object) -> None:
        self.port = free_port()
        variables = {"MC_HOME": home, "MC_PORT": self.port, "MC_WEB_WORKERS": 1} | settings
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MC_", "SSE_", "WS_"))},
            **{name: str(value) for name, value in variables.items()},
        }
        self._log = home / "gunicorn.log"
        self._clients: list[Client] = []
        self.home = home
        self.engine = open_engine(f"sqlite:///{home / 'mc.db'}")
        with writing(self.engine) as session:
            body = tokens.NewToken(name="watcher", scope=Scope.VIEWER)
            self.token_row, self.token = tokens.issue_token(session, body, ALICE)
        self.start()

    def start(self, **settings: object) -> None:
        self._environment |= {name: str(value) for name, value in settings.items()}
        argv = [
            sys.executable,
            "-m",
            "gunicorn",
            "--config",
            "deploy/gunicorn.conf.py",
            self.application,
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self.answers, timeout=30, description=f"an answer of the server ({self._log})")

    def answers(self) -> bool:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return bool(self.get(self.sign))
        return False

    def get(self, path: str, host: str = "127.0.0.1") -> bytes:
        """Fetch a path at the address of programs, or with another name in the Host header."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host})
        with urllib.request.urlopen(request, timeout=10) as response:
            body: bytes = response.read()
        return body

    def worker(self) -> int:
        """Return the process id of the worker that responds."""
        return int(self.get("/page"))

    def client(self, path: str = "/api/v1/stream", **given: object) -> Client:
        client = Client(self.port, self.token, path, **given)  # type: ignore[arg-type]
        self._clients.append(client)
        return client.open()

    def close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()

    def append(self, text: str, ticket_id: int | None = None, event_type: str = "note") -> int:
        """Add one event to the log and return its id."""
        with writing(self.engine) as session:
            return events.append(session, ticket_id, event_type, {"text": text}, ALICE).id

    def ticket(self) -> tuple[int, str]:
        with writing(self.engine) as session:
            ticket = transitions.create_ticket(session, NewTicket(title="Watch me", assigned_to="script"), ALICE)
            return ticket.id, ticket.identifier

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill master and workers at once, like a power failure."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.engine.dispose()


@pytest.fixture
def serve(template: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server with these settings: `serve(SSE_MAX_TOTAL_CLIENTS=2)`."""
    servers: list[Server] = []

    def start(**settings: object) -> Server:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        shutil.copy(template, home / "mc.db")
        servers.append(Server(home, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def shared_server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("shared") / "home"
    home.mkdir(mode=0o700)
    shutil.copy(template, home / "mc.db")
    server = Server(home)
    yield server
    server.close()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The server with default settings that the tests of a module share, without clients of earlier tests."""
    yield shared_server
    shared_server.close_clients()
