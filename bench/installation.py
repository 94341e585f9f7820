"""A separate installation for a measurement: home, store, real server, one token."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import Message
from pathlib import Path
from typing import Any

import migrations
from database import open_engine, writing
from models import Scope
from settings import Settings, load
from tickets.conversation import timeline
from tickets.lifecycle import transitions
from tickets.operations import tokens
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket
from tickets.team import agents
from workers.host.tmux import Tmux

from .rows import wait_until

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 240.0
"""How long a board may take to answer on a busy machine."""
BENCH_ACTOR = Actor.human("bench")


class Installation:
    """An installation with environment variables as settings: `Installation(home, MC_WEB_WORKERS=1)`."""

    def __init__(self, home: Path, **settings: object) -> None:
        variables = {"MC_HOME": home, "MC_PORT": find_port(), "MC_TIMEZONE": "UTC"} | settings
        names = ("PATH", "HOME", "LANG", "USER")
        self.environment = {name: os.environ[name] for name in names if name in os.environ}
        self.environment |= {name: str(value) for name, value in variables.items()}
        self.settings: Settings = load(self.environment)
        self.settings.ensure_home()
        migrations.upgrade_store(self.settings.database_url, home)
        self.engine = open_engine(self.settings.database_url)
        with writing(self.engine) as session:
            agents.seed_team(session, {"script": True})
            _, self.token = tokens.issue_token(
                session, tokens.NewToken(name="bench", scope=Scope.OPERATOR), BENCH_ACTOR
            )
        self._children: list[subprocess.Popen[bytes]] = []

    def serve(self) -> subprocess.Popen[bytes]:
        """Start gunicorn as deployed and wait until it answers."""
        master = self.start("-m", "gunicorn", "--config", "deploy/gunicorn.conf.py")
        wait_until(self._answers, "the server")
        return master

    def serve_all(self) -> subprocess.Popen[bytes]:
        """Start all that `mc serve` starts, including the scheduler, and wait until the board answers."""
        parent = self.start("mc_cli.py", "serve", "--no-browser")
        wait_until(self._answers, "the board", START_SECONDS)
        return parent

    def start(self, *argv: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a Python program of the project in this installation, with its output in a log in the home folder.

        `variables` are added to its environment.
        """
        with (self.settings.logs_dir / "bench.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, *argv],
                cwd=ROOT,
                env={**self.environment, **(variables or {})},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._children.append(child)
        return child

    def get(self, path: str) -> bytes:
        """Return the body of a response with status 200."""
        return self.request(self.connect(), "GET", path)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=60)

    def request(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", token: str = ""
    ) -> bytes:
        return self.exchange(connection, method, path, body, token)[1]

    def exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes = b"",
        token: str = "",
        *,
        kind: str = "application/x-ndjson",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Message, bytes]:
        """Return headers and body of a response with this status."""
        own = {"Authorization": f"Bearer {token or self.token}", "Content-Type": kind}
        connection.request(method, path, body or None, own | dict(headers or {}))
        response = connection.getresponse()
        answer = response.read()
        if response.status != status:
            raise RuntimeError(f"{method} {path} was answered {response.status}: {answer[:300]!r}")
        return response.headers, answer

    def create_tickets(self, count: int, **facts: object) -> list[int]:
        """Create tickets for the script agent in bulk. Returns their ids."""
        body = NewTicket.model_validate({"title": "A ticket to measure with", "assigned_to": "script"} | facts)
        with writing(self.engine) as session:
            return [transitions.create_ticket(session, body, BENCH_ACTOR).id for _ in range(count)]

    def add_comments(self, identifier: str, texts: Iterable[str]) -> None:
        """Add comments to a ticket, one after the other."""
        with writing(self.engine) as session:
            ticket_id = lookup.get_ticket(session, identifier).id
            for text in texts:
                timeline.add_comment(session, ticket_id, timeline.NewComment(body=text), BENCH_ACTOR)

    def claim(self, ticket_id: int) -> claims.RunClaim:
        with writing(self.engine) as session:
            return claims.claim_ticket(session, ticket_id, "bench")

    def finish_run(self, ticket_id: int, verdict: str) -> None:
        """Run a ticket and end the run with this verdict."""
        report = reports.RunReport.model_validate(
            {"verdict": verdict, "summary": "It is as it was asked for, as far as I see."}
        )
        with writing(self.engine) as session:
            reports.apply_report(
                session, claims.claim_ticket(session, ticket_id, "bench").run.id, report, reports.RetryPolicy()
            )

    def move(self, ticket_id: int, move: str, **facts: Any) -> None:
        with writing(self.engine) as session:
            transitions.transition(session, ticket_id, move, BENCH_ACTOR, **facts)

    def close(self) -> None:
        for child in reversed(self._children):
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()
        tmux = Tmux(f"mc-{self.settings.instance}", self.settings.sockets_dir)
        subprocess.run(tmux.argv("kill-server"), env=tmux.environment, capture_output=True, timeout=10, check=False)
        self.engine.dispose()
        shutil.rmtree(self.settings.sockets_dir, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return bool(self.get("/healthz"))
        return False


def find_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parse_server_seconds(headers: Message) -> float:
    """Parse the server's own working time from the headers of a response."""
    return float(headers["Server-Timing"].partition("dur=")[2]) / 1000


@contextmanager
def create_installation(**settings: object) -> Iterator[Installation]:
    """Create an installation in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mc-bench-", ignore_cleanup_errors=True) as folder:
        instance = Installation(Path(folder), **settings)
        try:
            yield instance
        finally:
            instance.close()
