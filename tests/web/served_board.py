"""A board served by real gunicorn, with runs of a conversational agent in real tmux, and WebSocket clients."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from sqlalchemy import select
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from database import reading, writing
from models import QueuedMessage, Run, Scope
from settings import Settings
from tests.streams.conftest import ALICE, Server
from tests.waiting import wait_until
from tests.workers.runs import build_spec
from tickets.lifecycle import transitions
from tickets.operations import tokens
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.shared.inputs import NewTicket
from workers.host import processes
from workers.host.tmux import Tmux
from workers.run import launch

from . import talking_agent

Message = dict[str, Any]

HOST = "mc-00000000-abcdefghijklmnop.localhost"
"""The secret name of every board of these tests, so that tabs can be used again with another home."""


def name_board(home: Path) -> None:
    """Give the home of a board this name, as if it had made it."""
    folder = home / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "browser-host").write_text(HOST)


class Stage(Server):
    """A served board. `close` ends everything that was started on it."""

    application = "tests.web.wsgi:preload()"
    sign = "/healthz"

    def __init__(self, home: Path, **settings: object) -> None:
        super().__init__(home, **settings)
        self.settings = Settings(home=home, port=self.port)
        self.tmux = Tmux(f"mc-{self.settings.instance}", self.settings.sockets_dir)
        self._markers: list[str] = []
        self.people: list[Connection] = []
        self._tokens: dict[tuple[str, Scope], str] = {}

    # Runs

    def ticket(self, **facts: Any) -> tuple[int, str]:
        body = NewTicket.model_validate({"title": "Talk with me", "assigned_to": "script", **facts})
        with writing(self.engine) as session:
            new_ticket = transitions.create_ticket(session, body, ALICE)
            return new_ticket.id, new_ticket.identifier

    def talking(self, name: str) -> Run:
        """Start a run of the conversational agent on a ticket like the dispatcher, and wait until it is ready."""
        with writing(self.engine) as session:
            claim = claims.claim_ticket(session, lookup.get_ticket(session, name).id, socket.gethostname())
        run_dir, spec = self.settings.run_path(claim.run.id), self._spec(claim)
        launch.write_run_dir(run_dir, spec, "Talk.")
        self._markers.append(spec.marker)
        pane = launch.start_wrapper(self.tmux, run_dir, spec)
        with writing(self.engine) as session:
            claims.record_workspace(session, claim.run.id, tmux_target=pane, workspace=spec.workspace)
        wait_until(lambda: self.run(claim.run.id).live_line, 60, "the agent's first words")
        return self.run(claim.run.id)

    def _spec(self, claim: claims.RunClaim) -> Any:
        folder = self.home / f"work-{claim.run.id}"
        folder.mkdir()
        spec = build_spec(
            folder,
            instance=self.settings.instance,
            run_id=claim.run.id,
            ticket_id=claim.ticket.id,
            identifier=claim.ticket.identifier,
            generation=claim.run.generation,
            api=self.settings.api_url,
            token=claim.token,
            nonce=claim.run.nonce,
            socket=str(self.settings.sockets_dir / f"run-{claim.run.id}.sock"),
            binary=sys.executable,
            argv=(str(Path(talking_agent.__file__)),),
        )
        Path(spec.workspace).mkdir()
        return spec

    def worker_pid(self) -> int:
        """Return the process id of gunicorn's only worker."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def run(self, run_id: int) -> Run:
        with reading(self.engine) as session:
            return lookup.get_run(session, run_id)

    def status(self, name: str) -> str:
        with reading(self.engine) as session:
            return lookup.get_ticket(session, name).status.value

    def number(self, name: str) -> int:
        with reading(self.engine) as session:
            return lookup.get_ticket(session, name).id

    def report_verdict(self, name: str, verdict: str) -> None:
        """Make a run report this verdict: `question` or `review`."""
        with writing(self.engine) as session:
            claim = claims.claim_ticket(session, lookup.get_ticket(session, name).id, "here")
            report = reports.RunReport.model_validate({"verdict": verdict, "summary": "Well?"})
            reports.apply_report(session, claim.run.id, report, reports.RetryPolicy())

    def messages(self, name: str | None = None) -> list[QueuedMessage]:
        """List the messages to the agents of this board, or of one of its tickets."""
        query = select(QueuedMessage).order_by(QueuedMessage.id)
        if name is not None:
            query = query.where(QueuedMessage.ticket_id == self.number(name))
        with reading(self.engine) as session:
            return list(session.scalars(query))

    def page(self, path: str, token: str) -> tuple[str, Message]:
        """Fetch a page with a token, and return its text and headers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode(), dict(response.headers)

    # People

    def person(self, name: str, scope: Scope = Scope.OPERATOR) -> str:
        """Return the token of a person, issued at the first call."""
        if (name, scope) not in self._tokens:
            with writing(self.engine) as session:
                body = tokens.NewToken(name=name, scope=scope)
                self._tokens[name, scope] = tokens.issue_token(session, body, ALICE)[1]
        return self._tokens[name, scope]

    def guest(self, ticket: str, token: str, **given: Any) -> Guest:
        guest = Guest(self.port, ticket, token, **given)
        self.people.append(guest)
        return guest.open()

    def cut_off(self) -> None:
        """Cut all connections, and restart a killed server, for the next test."""
        while self.people:
            self.people.pop().disconnect()
        if self.process.poll() is not None:
            self.start()

    def kill_runs(self) -> None:
        while self._markers:
            processes.stop(processes.Identity(0, "", ""), self._markers.pop(), 0)

    def close(self) -> None:
        while self.people:
            self.people.pop().disconnect()
        self.kill_runs()
        subprocess.run(self.tmux.argv("kill-server"), env=self.tmux.environment, capture_output=True, timeout=10)
        super().close()


class Connection(Protocol):
    """The client's end of a WebSocket."""

    def disconnect(self) -> None: ...


@contextmanager
def staged(template: Path, home: Path, **settings: object) -> Iterator[Stage]:
    """Serve a board from a new home with a copy of this database."""
    home.mkdir(mode=0o700)
    name_board(home)
    shutil.copy(template, home / "mc.db")
    stage = Stage(home, **settings)
    try:
        yield stage
    finally:
        stage.close()


class Guest:
    """A page's connection to a conversation, which keeps its cursor and can be cut at any time."""

    def __init__(self, port: int, ticket: str, token: str, after: int = 0) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws/tickets/{ticket}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._page = uuid4().hex
        self._after = after
        self.heard: list[Message] = []
        self._line: ClientConnection | None = None

    def open(self) -> Guest:
        self._line = connect(self._url, additional_headers=self._headers, open_timeout=20).__enter__()
        self.tell(type="hello", page=self._page, after=self._after)
        self.until(lambda message: message["type"] == "control", "the greeting")
        return self

    def tell(self, **message: Any) -> None:
        assert self._line is not None
        self._line.send(json.dumps(message))

    def say(self, body: str, key: str | None = None, **given: Any) -> str:
        key = key or str(uuid4())
        self.tell(type="say", id=key, body=body, **given)
        return key

    def control(self, act: str) -> Message:
        key = str(uuid4())
        self.tell(type="control", id=key, act=act)
        return self.reply(key)

    def reply(self, key: str) -> Message:
        """Return the server's reply to a message that this client sent."""
        return self.until(lambda message: message.get("id") == key, f"a reply to {key}")

    def event(self, event_type: str, **payload: Any) -> Message:
        """Wait for the next event of a type whose payload has these values."""

        def is_it(message: Message) -> bool:
            event = message.get("event", {})
            return bool(event.get("event_type") == event_type and payload.items() <= event["payload"].items())

        message: Message = self.until(is_it, f"{event_type} {payload}")["event"]
        return message

    def until(self, is_match: Callable[[Message], bool], description: str, timeout: float = 60) -> Message:
        """Read until a message matches. All received messages are in `heard`."""
        while True:
            try:
                message = self._read(timeout)
            except TimeoutError:
                raise AssertionError(f"{description} did not come; heard {self.heard[-5:]}") from None
            if is_match(message):
                return message

    def _read(self, timeout: float) -> Message:
        assert self._line is not None
        message: Message = json.loads(self._line.recv(timeout))
        self.heard.append(message)
        if message["type"] == "event":
            self._after = message["event"]["seq"]
        return message

    def end(self) -> int | None:
        """Read until the server closes the connection, and return the close code."""
        assert self._line is not None
        with suppress(ConnectionClosed):
            for _ in self._line:
                continue
        return self._line.close_code

    def leave(self) -> None:
        """Close the connection like a page that the user leaves."""
        assert self._line is not None
        self._line.close(1001)

    def disconnect(self) -> None:
        """Cut the connection without a close frame, like a network failure."""
        if self._line is not None:
            self._line.socket.close()

    @property
    def seqs(self) -> list[int]:
        return [message["event"]["seq"] for message in self.heard if message["type"] == "event"]
