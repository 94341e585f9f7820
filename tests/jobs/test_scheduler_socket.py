"""A pass by a living scheduler for whoever asks over its socket, and every reason to make it oneself."""

from __future__ import annotations

import json
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bootstrap
from database import reading
from jobs import scheduler_client, scheduler_socket
from jobs.scheduler_client import LineChannel, PassRefused, request_pass, socket_address
from jobs.scheduler_socket import PassRequest, PassServer
from jobs.task_recorder import JobResult
from models import TaskOutcome, Trigger
from tests.waiting import wait_until
from tickets.schedule import tasks

from .installation import Installation

REQUEST = {"fingerprint": "abc", "trigger": "operator", "resumed_only": False}


class SocketService:
    """A server in a home of its own, and what was asked of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run_folder = home / "run"
        self.run_folder.mkdir(parents=True, mode=0o700)
        self.requests: list[PassRequest] = []
        self.work: Callable[[], JobResult] = lambda: JobResult(TaskOutcome.NOOP, {"outcome": "noop"})
        self.log: list[str] = []
        self.server = PassServer(self.run_folder, "abc", self._make_pass, lambda: 60, self.log.append)
        self.server.start()

    def _make_pass(self, request: PassRequest) -> JobResult:
        self.requests.append(request)
        return self.work()

    @property
    def path(self) -> Path:
        return self.run_folder / scheduler_client.SOCKET

    def send(self, data: bytes) -> dict[str, Any]:
        """What is answered to raw bytes."""
        with socket.socket(socket.AF_UNIX) as connection, socket_address(self.run_folder) as address:
            connection.connect(address)
            connection.sendall(data)
            return LineChannel(connection).receive(10)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SocketService]:
    service = SocketService(tmp_path / ("a" * 120))  # longer than a socket's address may be
    yield service
    service.server.stop()


def test_a_pass_is_made_for_who_asks_and_its_summary_returned(service: SocketService) -> None:
    request = REQUEST | {"trigger": "timer", "resumed_only": True}

    assert request_pass(service.home, request) == (0, {"outcome": "noop"})

    assert service.requests == [PassRequest(Trigger.TIMER, resumed_only=True)]
    assert stat.S_IMODE(service.path.stat().st_mode) == 0o600


def test_a_pass_that_fails_has_the_exit_code_of_the_program(service: SocketService) -> None:
    service.work = lambda: JobResult(TaskOutcome.FAILED, {"outcome": "failed"})

    assert request_pass(service.home, REQUEST) == (1, {"outcome": "failed"})


def test_a_result_may_take_longer_than_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_client, "ANSWER_TIMEOUT_SECONDS", 0.3)
    client_end, server_end = socket.socketpair()
    with LineChannel(client_end) as client, LineChannel(server_end) as server:
        server.send({"accepted": True, "seconds": 60})
        later = threading.Timer(0.5, server.send, [{"exit_code": 0, "summary": {"late": True}}])
        later.start()

        assert scheduler_client.send_request(client, REQUEST) == (0, {"late": True})
        later.join()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fingerprint": "abd"}, "other settings or another version"),
        ({"trigger": "whim"}, "trigger or resumed_only"),
        ({"trigger": ["timer"]}, "trigger or resumed_only"),
        ({"resumed_only": 1}, "trigger or resumed_only"),
        ({"limit": 3}, "exactly the keys"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    service: SocketService, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(PassRefused, match=reason):
        request_pass(service.home, REQUEST | changes)

    assert service.requests == []


@pytest.mark.parametrize(
    "data",
    [b"\n", b"[]\n", b"{\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * (scheduler_client.MAX_LINE_BYTES + 1)],
    ids=["nothing", "no object", "half", "no text", "deep", "long"],
)
def test_nonsense_is_cut_off_and_the_next_is_served(service: SocketService, data: bytes) -> None:
    with pytest.raises(OSError, match=r"closed|reset|[Pp]ipe"):
        service.send(data)

    assert request_pass(service.home, REQUEST) == (0, {"outcome": "noop"})
    wait_until(lambda: service.log, description="the log")
    assert len(service.log) == 1 and "cut off" in service.log[0]


def test_who_says_nothing_is_cut_off_in_time(service: SocketService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_socket, "ANSWER_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(ConnectionError):
        service.send(b"{")


def test_another_user_is_refused(service: SocketService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.scheduler_socket.os.getuid", lambda: 4242)

    assert "own user" in service.send(json.dumps(REQUEST).encode() + b"\n")["refused"]


def test_more_requests_than_places_are_sent_away(service: SocketService) -> None:
    ending = threading.Event()
    service.work = lambda: JobResult(TaskOutcome.NOOP, {"ended": ending.wait(30)})
    clients = [threading.Thread(target=request_pass, args=(service.home, REQUEST)) for _ in range(4)]
    for client in clients:
        client.start()
    wait_until(lambda: len(service.requests) == 4, description="four passes")

    with pytest.raises(PassRefused):
        request_pass(service.home, REQUEST)

    ending.set()
    for client in clients:
        client.join()


def test_a_failure_of_the_pass_itself_reaches_the_log_and_the_client(service: SocketService) -> None:
    service.work = lambda: JobResult(TaskOutcome.NOOP, {"x": 1 / 0})

    with pytest.raises(PassRefused, match="did not answer"):
        request_pass(service.home, REQUEST)
    wait_until(lambda: service.log, description="the log")
    assert "ZeroDivisionError" in service.log[0]


def test_a_scheduler_that_does_not_answer_is_waited_for_no_longer(
    service: SocketService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_client, "ANSWER_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(service.server, "_handle", lambda _connection: threading.Event().wait(1))

    with pytest.raises(PassRefused, match=r"timed out|in time"):
        request_pass(service.home, REQUEST)


def test_without_a_scheduler_nobody_is_asked(service: SocketService) -> None:
    assert request_pass(service.home / "elsewhere", REQUEST) is None
    service.server.stop()
    assert request_pass(service.home, REQUEST) is None and not service.path.exists()


def test_the_socket_of_a_dead_scheduler_is_passed_over_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead, socket_address(tmp_path / "run") as address:
        dead.bind(address)
    (tmp_path / "run" / scheduler_client.SOCKET).chmod(0o600)
    assert request_pass(tmp_path, REQUEST) is None

    server = PassServer(tmp_path / "run", "abc", lambda _: JobResult(TaskOutcome.NOOP), lambda: 1, print)
    server.start()
    assert request_pass(tmp_path, REQUEST) == (0, {})
    server.stop()


def test_a_socket_that_others_may_use_is_not_trusted(service: SocketService) -> None:
    service.path.chmod(0o666)

    with pytest.raises(PassRefused, match="alone may use"):
        request_pass(service.home, REQUEST)
    assert service.requests == []


def test_a_file_in_the_place_of_the_socket_is_not_trusted(service: SocketService) -> None:
    service.path.unlink()
    service.path.symlink_to("/dev/null")

    with pytest.raises(PassRefused, match="alone may use"):
        request_pass(service.home, REQUEST)


# The fingerprint


def test_a_fingerprint_changes_with_settings_and_code_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"MC_HOME": str(tmp_path), "PATH": "/bin"}
    before = bootstrap.compute_fingerprint(environment)
    (tmp_path / "code").mkdir()

    assert bootstrap.compute_fingerprint(environment | {"PATH": "/usr/bin", "TERM": "dumb"}) == before
    others = {bootstrap.compute_fingerprint(environment | {"MC_PORT": "3002"})}
    (tmp_path / "config.toml").write_text("port = 3003\n")
    others.add(bootstrap.compute_fingerprint(environment))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "PACKAGES", ("code",))
    others.add(bootstrap.compute_fingerprint(environment))
    (tmp_path / "code" / "agents").mkdir()
    (tmp_path / "code" / "agents" / "new.py").write_text("")
    others.add(bootstrap.compute_fingerprint(environment))
    assert len(others - {before}) == 4


# The programs


def test_pickup_beside_a_living_scheduler_is_its_pass(installation: Installation) -> None:
    scheduler = installation.start_program("mc_scheduler.py")
    wait_until((installation.settings.run_dir / scheduler_client.SOCKET).exists, timeout=60, description="the socket")

    completed = installation.run_program("-X", "importtime", "mc_pickup.py", "--needs-input-only")
    other = installation.run_program("mc_pickup.py", MC_MAX_WORKERS="3")

    assert completed.returncode == 0 and json.loads(completed.stdout)["task"] == "ticket-pickup"
    assert "sqlalchemy" not in completed.stderr and "pydantic" not in completed.stderr
    assert other.returncode == 0 and "other settings" in other.stderr and json.loads(other.stdout)["outcome"]
    with reading(installation.engine) as session:
        row = next(row for row in tasks.list_task_runs(session) if row.id == json.loads(completed.stdout)["task_run"])
    assert row.trigger is Trigger.OPERATOR

    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(60) == 0


def test_an_unknown_trigger_is_an_error_of_usage(installation: Installation) -> None:
    done = installation.run_program("mc_pickup.py", "--trigger", "whim")

    assert done.returncode == 2 and "invalid choice: 'whim'" in done.stderr
