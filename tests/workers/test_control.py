from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import StopOrder
from tests.waiting import wait_until
from workers.run.api import ApiClient, Unreachable
from workers.run.control import HeartbeatThread, Mailbox, Orders, parse_orders

from .fake_api import FakeApi, serving


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"stop": 1, "messages": "none", "answers": [1, {}], "interrupt": "now"},
        {"stop": None, "messages": [{"body": "no uuid"}], "answers": None, "interrupt": {}},
    ],
)
def test_an_answer_that_is_not_understood_orders_nothing(answer: dict[str, Any]) -> None:
    assert parse_orders(answer) == Orders()


def test_an_answer_is_read_field_by_field() -> None:
    message, reply = {"id": 1, "uuid": "u", "body": "x", "mode": "queue"}, {"request": "q", "behavior": "allow"}
    stop = {"reason": "Parked.", "code": "parked", "grace_seconds": 3}
    answer = {"stop": stop, "messages": [message], "answers": [reply], "interrupt": {"uuid": "i"}}
    assert parse_orders(answer) == Orders(StopOrder("Parked.", "parked", 3.0), (message,), (reply,), "i")


def test_a_look_is_over_when_its_beat_is_whatever_came_of_it(tmp_path: Path, api: FakeApi) -> None:
    mailbox = Mailbox()
    control = HeartbeatThread(ApiClient(api.base, "t", 2), 12, tmp_path / "s", lambda: {"state": "idle"}, mailbox)
    control.start()
    wait_until(lambda: api.heartbeats, description="the first beat")
    ticket = control.look()
    wait_until(lambda: control.answered >= ticket, description="the beat")
    api.down()
    ticket = control.look()
    wait_until(lambda: control.answered >= ticket, description="the beat that failed")
    assert all(item == Orders() for item in mailbox.take())
    control.close()
    assert not (tmp_path / "s").exists()


def test_without_a_place_for_its_socket_a_run_still_beats(tmp_path: Path, api: FakeApi) -> None:
    control = HeartbeatThread(
        ApiClient(api.base, "t", 2), 12, tmp_path / "no" / "s", lambda: {"state": "idle"}, Mailbox()
    )
    control.start()
    wait_until(lambda: api.heartbeats == [{"state": "idle"}], description="the first beat")
    control.close()


def test_a_server_that_speaks_no_http_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        ApiClient("http://127.0.0.1:9", "t", 1).post("/x", b"{}")
