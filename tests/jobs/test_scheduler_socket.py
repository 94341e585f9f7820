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
from jobs.scheduler_client import LineChannel, NotServed, request_pass, socket_address
from jobs.scheduler_socket import PassRequest, PassServer
from jobs.task_recorder import Done
from models import TaskOutcome, Trigger
from tests.waiting import wait_until
from tickets.operations import tasks

from .house import House

REQUEST = {"fingerprint": "abc", "trigger": "operator", "resumed_only": False}


class Office:
    """A server in a home of its own, and what was asked of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run_folder = home / "run"
        self.run_folder.mkdir(parents=True, mode=0o700)
        self.requests: list[PassRequest] = []
        self.work: Callable[[], Done] = lambda: Done(TaskOutcome.NOOP, {"outcome": "noop"})
        self.log: list[str] = []
        self.server = PassServer(self.run_folder, "abc", self._make_pass, lambda: 60, self.log.append)
        self.server.start()

    def _make_pass(self, request: PassRequest) -> Done:
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
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / ("a" * 120))  # longer than a socket's address may be
    yield made
    made.server.stop()


def test_a_pass_is_made_for_who_asks_and_its_summary_returned(office: Office) -> None:
    request = REQUEST | {"trigger": "timer", "resumed_only": True}

    assert request_pass(office.home, request) == (0, {"outcome": "noop"})

    assert office.requests == [PassRequest(Trigger.TIMER, resumed_only=True)]
    assert stat.S_IMODE(office.path.stat().st_mode) == 0o600


def test_a_pass_that_fails_has_the_exit_code_of_the_program(office: Office) -> None:
    office.work = lambda: Done(TaskOutcome.FAILED, {"outcome": "failed"})

    assert request_pass(office.home, REQUEST) == (1, {"outcome": "failed"})


def test_a_result_may_take_longer_than_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_client, "ANSWER_SECONDS", 0.3)
    ours, theirs = socket.socketpair()
    with LineChannel(ours) as client, LineChannel(theirs) as server:
        server.send({"accepted": True, "seconds": 60})
        later = threading.Timer(0.5, server.send, [{"exit_code": 0, "summary": {"late": True}}])
        later.start()

        assert scheduler_client.converse(client, REQUEST) == (0, {"late": True})
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
def test_a_request_that_does_not_fit_is_refused(office: Office, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(NotServed, match=reason):
        request_pass(office.home, REQUEST | changes)

    assert office.requests == []


@pytest.mark.parametrize(
    "data",
    [b"\n", b"[]\n", b"{\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * (scheduler_client.MAX_LINE_BYTES + 1)],
    ids=["nothing", "no object", "half", "no text", "deep", "long"],
)
def test_nonsense_is_cut_off_and_the_next_is_served(office: Office, data: bytes) -> None:
    with pytest.raises(OSError, match=r"closed|reset|[Pp]ipe"):
        office.send(data)

    assert request_pass(office.home, REQUEST) == (0, {"outcome": "noop"})
    wait_until(lambda: office.log, what="the log")
    assert len(office.log) == 1 and "cut off" in office.log[0]


def test_who_says_nothing_is_cut_off_in_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_socket, "ANSWER_SECONDS", 0.1)
    with pytest.raises(ConnectionError):
        office.send(b"{")


def test_another_user_is_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.scheduler_socket.os.getuid", lambda: 4242)

    assert "own user" in office.send(json.dumps(REQUEST).encode() + b"\n")["refused"]


def test_more_requests_than_places_are_sent_away(office: Office) -> None:
    ending = threading.Event()
    office.work = lambda: Done(TaskOutcome.NOOP, {"ended": ending.wait(30)})
    clients = [threading.Thread(target=request_pass, args=(office.home, REQUEST)) for _ in range(4)]
    for client in clients:
        client.start()
    wait_until(lambda: len(office.requests) == 4, what="four passes")

    with pytest.raises(NotServed):
        request_pass(office.home, REQUEST)

    ending.set()
    for client in clients:
        client.join()


def test_a_failure_of_the_pass_itself_reaches_the_log_and_the_client(office: Office) -> None:
    office.work = lambda: Done(TaskOutcome.NOOP, {"x": 1 / 0})

    with pytest.raises(NotServed, match="did not answer"):
        request_pass(office.home, REQUEST)
    assert "ZeroDivisionError" in office.log[0]


def test_a_scheduler_that_does_not_answer_is_waited_for_no_longer(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_client, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(office.server, "_handle", lambda _connection: threading.Event().wait(1))

    with pytest.raises(NotServed, match=r"timed out|in time"):
        request_pass(office.home, REQUEST)


def test_without_a_scheduler_nobody_is_asked(office: Office) -> None:
    assert request_pass(office.home / "elsewhere", REQUEST) is None
    office.server.stop()
    assert request_pass(office.home, REQUEST) is None and not office.path.exists()


def test_the_socket_of_a_dead_scheduler_is_passed_over_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead, socket_address(tmp_path / "run") as address:
        dead.bind(address)
    (tmp_path / "run" / scheduler_client.SOCKET).chmod(0o600)
    assert request_pass(tmp_path, REQUEST) is None

    server = PassServer(tmp_path / "run", "abc", lambda _: Done(TaskOutcome.NOOP), lambda: 1, print)
    server.start()
    assert request_pass(tmp_path, REQUEST) == (0, {})
    server.stop()


def test_a_socket_that_others_may_use_is_not_trusted(office: Office) -> None:
    office.path.chmod(0o666)

    with pytest.raises(NotServed, match="alone may use"):
        request_pass(office.home, REQUEST)
    assert office.requests == []


def test_a_file_in_the_place_of_the_socket_is_not_trusted(office: Office) -> None:
    office.path.unlink()
    office.path.symlink_to("/dev/null")

    with pytest.raises(NotServed, match="alone may use"):
        request_pass(office.home, REQUEST)


# The fingerprint


def test_a_fingerprint_changes_with_settings_and_code_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"MC_HOME": str(tmp_path), "PATH": "/bin"}
    before = bootstrap.fingerprint(environment)
    (tmp_path / "code").mkdir()

    assert bootstrap.fingerprint(environment | {"PATH": "/usr/bin", "TERM": "dumb"}) == before
    others = {bootstrap.fingerprint(environment | {"MC_PORT": "3002"})}
    (tmp_path / "config.toml").write_text("port = 3003\n")
    others.add(bootstrap.fingerprint(environment))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "PACKAGES", ("code",))
    others.add(bootstrap.fingerprint(environment))
    (tmp_path / "code" / "agents").mkdir()
    (tmp_path / "code" / "agents" / "new.py").write_text("")
    others.add(bootstrap.fingerprint(environment))
    assert len(others - {before}) == 4


# The programs


def test_pickup_beside_a_living_scheduler_is_its_pass(house: House) -> None:
    service = house.door("mc_scheduler.py")
    wait_until((house.settings.run_dir / scheduler_client.SOCKET).exists, timeout=60, what="the socket")

    asked = house.run_door("-X", "importtime", "mc_pickup.py", "--needs-input-only")
    other = house.run_door("mc_pickup.py", MC_MAX_WORKERS="3")

    assert asked.returncode == 0 and json.loads(asked.stdout)["task"] == "ticket-pickup"
    assert "sqlalchemy" not in asked.stderr and "pydantic" not in asked.stderr
    assert other.returncode == 0 and "other settings" in other.stderr and json.loads(other.stdout)["outcome"]
    with reading(house.engine) as session:
        row = next(row for row in tasks.history(session) if row.id == json.loads(asked.stdout)["task_run"])
    assert row.trigger is Trigger.OPERATOR

    service.send_signal(signal.SIGTERM)
    assert service.wait(60) == 0


def test_an_unknown_trigger_is_an_error_of_usage(house: House) -> None:
    done = house.run_door("mc_pickup.py", "--trigger", "whim")

    assert done.returncode == 2 and "invalid choice: 'whim'" in done.stderr
