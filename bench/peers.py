"""The same operations on Mission Control and on two comparable boards from PyPI: `bin/bench --peers`.

Each board is started as its documentation says, with one process, and asked over HTTP by one client, one request after
the other. The packages are installed into virtual environments of their own, which needs a package index.
"""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import subprocess
import tempfile
import venv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from database import writing
from models import Scope
from tickets.operations import tokens

from .installation import BENCH_ACTOR, Installation, create_installation, find_port
from .rows import ResultRow, compute_percentile, measure_pace, measure_seconds, wait_until

OWN_NAME = "Mission Control"
TICKET_COUNT = 10_000
SAMPLES = 100
TITLE = "A ticket to measure with"
START_SECONDS = 120


class MeasuredBoard(ABC):
    """A board that is measured: how it is asked to create, claim and list tickets."""

    name: str
    list_path: str

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    @abstractmethod
    def create_ticket(self) -> str:
        """Create a ticket and return its id."""

    @abstractmethod
    def claim_ticket(self, ticket_id: str) -> None:
        """Take a ticket for one worker."""

    def end_claim(self, ticket_id: str) -> None:  # noqa: B027 - only a board with a limit needs it
        """Make place for the next claim where a board limits the work in progress. It is not measured."""

    @abstractmethod
    def add_tickets(self, count: int) -> None:
        """Add tickets without HTTP, so that the list is long. It is not measured."""

    def list_tickets(self) -> None:
        self.request("GET", self.list_path)

    def disconnect(self) -> None:
        """Close the connection, which the server does too after some seconds. The next request opens another."""
        self._connection.close()

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
        """Return the body of an answer, which must be a success."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{self.name}: {method} {path} was answered {response.status}: {answer[:300]!r}")
        return json.loads(answer)


class MissionControl(MeasuredBoard):
    """This board, on a new installation. A claim is the start of a run outside, with its token and event log."""

    name = OWN_NAME
    list_path = "/api/v1/tickets?limit=50"

    def __init__(self, instance: Installation, service: str) -> None:
        super().__init__(instance.settings.port)
        self._instance, self._operator, self._service = instance, instance.token, service

    def add_tickets(self, count: int) -> None:
        self._instance.create_tickets(count)

    def create_ticket(self) -> str:
        return str(self.request("POST", "/api/v1/tickets", {"title": TITLE}, self._operator)["identifier"])

    def claim_ticket(self, ticket_id: str) -> None:
        self.request("POST", f"/api/v1/tickets/{ticket_id}/runs", {"agent": "ci", "host": "bench"}, self._service)

    def list_tickets(self) -> None:
        self.request("GET", self.list_path, token=self._operator)


class PackagedBoard(MeasuredBoard):
    """A board from PyPI in an environment and a home of its own."""

    requirement: str

    def __init__(self, folder: Path, port: int, stack: ExitStack) -> None:
        super().__init__(port)
        self.folder, self._port = folder, port
        venv.create(folder / "venv", with_pip=True)
        self._run("pip", "install", "--quiet", "--disable-pip-version-check", self.requirement)
        stack.callback(self._stop, self._start(*self.command))
        wait_until(self._answers, f"the start of {self.requirement}", START_SECONDS)

    @property
    @abstractmethod
    def command(self) -> tuple[str, ...]:
        """The program and arguments that serve the board on `self._port`."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return True when requests can be made. May raise what a connection raises."""

    @property
    def _environment(self) -> dict[str, str]:
        names = ("PATH", "LANG", "PIP_CONFIG_FILE", "PIP_INDEX_URL")
        return {name: os.environ[name] for name in names if name in os.environ} | {"HOME": str(self.folder)}

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([self.folder / "venv/bin" / program, *arguments], env=self._environment, check=True)

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [self.folder / "venv/bin" / program, *arguments],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _stop(self, server: subprocess.Popen[bytes]) -> None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()
        server.wait()

    def _answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.is_ready()
        self.disconnect()
        return False


class AK5(PackagedBoard):
    """AK5, started with `ak5 up`: one uvicorn process with SQLite. A claim is a guarded lease."""

    name = "AK5"
    requirement = "ak5[server]==2.0.0"
    list_path = "/api/v1/tickets?limit=50"

    @property
    def command(self) -> tuple[str, ...]:
        return ("ak5", "up", "--no-browser", "--port", str(self._port))

    def is_ready(self) -> bool:
        return (self.folder / ".ak5/credentials/worker.json").exists() and bool(self._find_board())

    def _find_board(self) -> str:
        boards = self.request("GET", "/api/v1/boards", token=self._read_token("me"))
        return str(next(board["board_id"] for board in boards if board["kind"] == "standard"))

    def _read_token(self, profile: str) -> str:
        return str(json.loads((self.folder / f".ak5/credentials/{profile}.json").read_text())["access_token"])

    def create_ticket(self) -> str:
        body = {"title": TITLE, "board_id": "proj-core-engine", "spec": TITLE, "acceptance_criteria": ["It is done"]}
        return str(self.request("POST", "/api/v1/tickets", body, self._read_token("me"))["ticket_id"])

    def claim_ticket(self, ticket_id: str) -> None:
        answer = self.request("POST", f"/api/v1/tickets/{ticket_id}/claim", {}, self._read_token("worker"))
        self._claim = str(answer["claim_token"])

    def end_claim(self, ticket_id: str) -> None:
        path = f"/api/v1/tickets/{ticket_id}/release"
        self.request(
            "POST", path, {"claim_token": self._claim, "reason": "It was only measured"}, self._read_token("worker")
        )

    def add_tickets(self, count: int) -> None:
        copy_rows(self.folder / ".local/share/ak5/ak5.db", "tickets", "ticket_id", count)

    def list_tickets(self) -> None:
        self.request("GET", self.list_path, token=self._read_token("me"))

    def _stop(self, server: subprocess.Popen[bytes]) -> None:
        self._run("ak5", "daemon", "stop")
        super()._stop(server)


class HermesKanban(PackagedBoard):
    """Hermes Kanban, started with `hermes-kanban serve`. It has no claim but an unguarded status, and no pages."""

    name = "Hermes Kanban"
    requirement = "hermes-kanban==1.0.1"
    list_path = "/api/tasks"

    @property
    def command(self) -> tuple[str, ...]:
        return ("hermes-kanban", "serve", "--no-auth", "--host", "127.0.0.1", "--port", str(self._port))

    def is_ready(self) -> bool:
        return bool(self.request("GET", "/health"))

    def create_ticket(self) -> str:
        return str(self.request("POST", "/api/tasks", {"title": TITLE})["id"])

    def claim_ticket(self, ticket_id: str) -> None:
        self.request("PUT", f"/api/tasks/{ticket_id}/status", {"status": "running"})

    def add_tickets(self, count: int) -> None:
        copy_rows(self.folder / ".hermes/kanban.db", "tasks", "id", count)


def copy_rows(database: Path, table: str, key: str, count: int) -> None:
    """Copy the last row of a SQLite table so many times under keys of their own."""
    with closing(sqlite3.connect(database, timeout=60)) as store, store:
        columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
        others = ", ".join(column for column in columns if column != key)
        store.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"  # noqa: S608
            f" INSERT INTO {table} ({key}, {others}) SELECT 'copy-' || n, {others}"
            f" FROM numbers, (SELECT * FROM {table} ORDER BY rowid DESC LIMIT 1)"
        )


class TimedRequest(NamedTuple):
    """The seconds of one operation, and the same in paces of the machine at that time, which can be compared."""

    seconds: float
    paces: float


def measure_peers() -> Iterator[ResultRow]:
    """Measure creating, claiming and listing tickets on Mission Control, AK5 and Hermes Kanban."""
    own_paces: dict[str, float] = {}
    for open_board in (_open_mission_control, _open_package(AK5), _open_package(HermesKanban)):
        with ExitStack() as stack:
            board = open_board(stack)
            for operation, samples in _measure_board(board):
                seconds = compute_percentile([sample.seconds for sample in samples], 50)
                paces = compute_percentile([sample.paces for sample in samples], 50)
                ratio = paces / own_paces.setdefault(operation, paces)
                yield ResultRow(f"{operation}, {board.name}, p50", seconds * 1000, "ms", f"{len(samples)} samples")
                yield ResultRow(f"{operation}, {board.name}, in paces", paces, "", f"{ratio:.1f} times {OWN_NAME}")


def _measure_board(board: MeasuredBoard) -> Iterator[tuple[str, list[TimedRequest]]]:
    """Yield the samples of each operation."""
    ids = [board.create_ticket() for _ in range(SAMPLES)]
    yield "create", [_take_sample(board.create_ticket) for _ in range(SAMPLES)]
    yield "claim", [_measure_claim(board, ticket_id) for ticket_id in ids]
    board.add_tickets(TICKET_COUNT - 2 * SAMPLES)
    board.disconnect()
    yield f"list with {TICKET_COUNT:,} tickets", [_take_sample(board.list_tickets) for _ in range(SAMPLES)]


def _measure_claim(board: MeasuredBoard, ticket_id: str) -> TimedRequest:
    sample = _take_sample(lambda: board.claim_ticket(ticket_id))
    board.end_claim(ticket_id)
    return sample


def _take_sample(action: Callable[[], object]) -> TimedRequest:
    seconds = measure_seconds(action)
    return TimedRequest(seconds, seconds / measure_pace())


def _open_mission_control(stack: ExitStack) -> MeasuredBoard:
    instance = stack.enter_context(create_installation(MC_WEB_WORKERS=1))
    with writing(instance.engine) as session:
        _, service = tokens.issue_token(session, tokens.NewToken(name="peer", scope=Scope.SERVICE), BENCH_ACTOR)
    instance.serve()
    return MissionControl(instance, service)


def _open_package(kind: type[PackagedBoard]) -> Callable[[ExitStack], MeasuredBoard]:
    def open_board(stack: ExitStack) -> MeasuredBoard:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mc-peer-", ignore_cleanup_errors=True))
        return kind(Path(folder), find_port(), stack)

    return open_board
