from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until
from workers.run import spool
from workers.run.api import ApiClient
from workers.run.sender import Sender
from workers.run.spool import Spool

from .fake_api import FakeApi, serving


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


@pytest.fixture
def writer(tmp_path: Path) -> Spool:
    return Spool(tmp_path, 1_000_000)


@pytest.fixture
def sender(api: FakeApi, writer: Spool) -> Iterator[Sender]:
    thread = Sender(writer, ApiClient(api.base, "mcr_secret", timeout=2), ticket_id=3)
    yield thread
    thread.close()


def fill(writer: Spool, count: int, event_type: str = "agent.text") -> None:
    for number in range(count):
        writer.append(event_type, {"n": number})


def numbers(api: FakeApi) -> list[int]:
    return [event["run_seq"] for event in api.events]


def test_events_arrive_in_order_in_batches_with_the_runs_token(api: FakeApi, writer: Spool, sender: Sender) -> None:
    fill(writer, 1200)
    sender.start()
    assert sender.flush(10)
    assert numbers(api) == list(range(1, 1201))
    assert len(api.posts) <= 4
    assert set(api.posts) == {("/api/v1/tickets/3/events", "Bearer mcr_secret")}


def test_what_was_acknowledged_is_remembered_on_disk(
    api: FakeApi, writer: Spool, sender: Sender, tmp_path: Path
) -> None:
    fill(writer, 3)
    sender.start()
    assert sender.flush(10)
    assert spool.read_acknowledged(tmp_path) == 3


def test_a_server_that_was_down_gets_everything_once_it_is_back(api: FakeApi, writer: Spool, sender: Sender) -> None:
    sender.start()
    fill(writer, 5)
    assert sender.flush(10)
    api.down()
    fill(writer, 700)
    assert not sender.flush(0.5)
    api.up()
    assert sender.flush(10)
    assert numbers(api) == list(range(1, 706))


@pytest.mark.parametrize("status", [500, 429, 400, 403, 404])
def test_a_failing_server_is_tried_again(api: FakeApi, writer: Spool, sender: Sender, status: int) -> None:
    """Regression: what a stranger on the server's port refused was given up, with a remark that was refused in turn."""
    api.statuses["events"] = status
    fill(writer, 2)
    sender.start()
    wait_until(lambda: len(api.posts) >= 2, description="a second attempt")
    api.statuses.clear()
    assert sender.flush(10)
    assert numbers(api) == [1, 2]


@pytest.mark.parametrize("status", [401, 409])
def test_a_stale_run_stops_sending_and_keeps_its_spool(
    api: FakeApi, writer: Spool, sender: Sender, tmp_path: Path, status: int
) -> None:
    api.statuses["events"] = status
    fill(writer, 2)
    sender.start()
    wait_until(lambda: not sender.is_alive(), description="the end of sending")
    assert sender.refused == status
    assert len(list(spool.replay_events(tmp_path))) == 2
    assert not sender.flush(5)


def test_an_event_the_server_will_never_take_does_not_hold_up_the_others(
    api: FakeApi, writer: Spool, sender: Sender
) -> None:
    fill(writer, 40)
    fill(writer, 1, "agent.raw")
    fill(writer, 40)
    api.refuse_event = "agent.raw"
    sender.start()
    wait_until(lambda: len(api.events) == 81, description="all other events and a notice")
    assert api.events[-1]["payload"]["text"].startswith("The server refused event 41 with status 422")
    assert 41 not in numbers(api)


def test_a_sender_that_fails_goes_on_where_it_was(api: FakeApi, writer: Spool, tmp_path: Path) -> None:
    """Regression: a sender that failed was gone without a word, and no event arrived any more."""
    thread = Sender(writer, ApiClient(api.base, "t", timeout=2), ticket_id=3)
    fill(writer, 3)
    thread.start()
    wait_until(lambda: numbers(api) == [1, 2, 3], description="the first events")
    events = tmp_path / spool.CURRENT_FILE
    events.rename(tmp_path / "moved")
    events.mkdir()  # a spool that is gone would only end the thread
    fill(writer, 2)
    wait_until(lambda: thread.failures, description="the failure")
    events.rmdir()
    (tmp_path / "moved").rename(events)
    wait_until(lambda: numbers(api) == [1, 2, 3, 4, 5], description="the other events")
    thread.close()
