"""The thread that follows the log, and the streams it feeds, on each database."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text

from database import ChangeWatcher, open_engine, reading, writing
from tests.waiting import wait_until
from tickets.shared import events, runtime_flags
from tickets.shared.actors import Actor
from web.stream.event_poller import Tailer
from web.stream.event_stream import EventStream
from web.stream.hub import Hub, Interest, Subscriber

ALICE = Actor.human("alice")
ALL = Interest(frozenset(), board=True)


@contextmanager
def following(engine: Engine) -> Iterator[tuple[Hub, Tailer]]:
    hub = Hub()
    tailer = Tailer(engine, hub)
    tailer.start()
    try:
        yield hub, tailer
    finally:
        tailer.stop()
        wait_until(lambda: not tailer.state().alive, what="the end of the tailer")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_it_looks_rarely_while_nobody_follows_and_at_once_when_somebody_begins(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.stream.event_poller.ATTENTIVE_SECONDS", 0.0)
    monkeypatch.setattr("web.stream.event_poller.IDLE_POLL_SECONDS", 3600.0)
    looks: list[float] = []
    look = ChangeWatcher.changed

    def counted(watcher: ChangeWatcher, seconds: float) -> bool:
        looks.append(seconds)
        return look(watcher, seconds)

    monkeypatch.setattr(ChangeWatcher, "changed", counted)
    with following(engine) as (hub, tailer):
        wait_until(lambda: len(looks) > 1, what="the first looks")
        time.sleep(0.1)  # the last of them may still be under way
        before, position = len(looks), tailer.state().position
        append(engine, 1)
        time.sleep(0.2)
        assert (len(looks), tailer.state().position) == (before, position), "nobody follows"

        subscriber = hub.subscribe(ALL)
        tailer.start()
        append(engine, 1)
        assert [event.payload["n"] for event in gather(subscriber, 2)] == [0, 0]


def append(engine: Engine, count: int, who: str = "alice") -> None:
    for number in range(count):
        with writing(engine) as session:
            events.append(session, None, "note", {"who": who, "n": number}, ALICE)


def gather(subscriber: Subscriber, count: int) -> list[events.Logged]:
    found: list[events.Logged] = []

    def enough() -> bool:
        found.extend(frame.event for frame in subscriber.take(0.1)[0])
        return len(found) >= count

    wait_until(enough, timeout=30, what=f"{count} events")
    return found


@pytest.mark.both_databases
def test_events_of_other_connections_arrive_in_order_each_once(url: str, engine: Engine) -> None:
    append(engine, 3)
    others = [open_engine(url) for _ in range(4)]
    with following(engine) as (hub, _):
        subscriber = hub.subscribe(ALL)
        writers = [threading.Thread(target=append, args=(o, 50, str(n))) for n, o in enumerate(others)]
        for writer in writers:
            writer.start()
        found = gather(subscriber, 200)
        for writer in writers:
            writer.join()
    for other in others:
        other.dispose()

    assert [event.id for event in found] == sorted({event.id for event in found})
    for who in "0123":
        assert [event.payload["n"] for event in found if event.payload["who"] == who] == list(range(50))


@pytest.mark.both_databases
def test_a_burst_longer_than_a_page_is_followed_to_its_end(engine: Engine) -> None:
    with following(engine) as (hub, _):
        subscriber = hub.subscribe(ALL)
        with writing(engine) as session:
            for number in range(1200):
                events.append(session, None, "note", {"n": number}, ALICE)

        assert [event.payload["n"] for event in gather(subscriber, 1200)] == list(range(1200))


@pytest.mark.both_databases
def test_the_tailer_survives_a_store_that_cannot_be_read_and_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()

    def sometimes(engine: Engine) -> object:
        if broken.is_set():
            raise OSError("the disk is away")
        return reading(engine)

    monkeypatch.setattr("web.stream.event_poller.reading", sometimes)
    with following(engine) as (hub, tailer):
        subscriber = hub.subscribe(ALL)
        append(engine, 1)
        gather(subscriber, 1)
        broken.set()
        append(engine, 5)
        wait_until(lambda: tailer.state().failures >= 2, what="attempts that fail")
        assert tailer.state().failing == "OSError: the disk is away"

        broken.clear()

        assert [event.payload["n"] for event in gather(subscriber, 5)] == list(range(5))
        wait_until(lambda: tailer.state().failing is None, what="the all-clear")
        assert tailer.state().alive


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_the_tailer_listens_again_when_its_connection_was_cut(engine: Engine) -> None:
    with following(engine) as (hub, tailer):
        subscriber = hub.subscribe(ALL)
        append(engine, 1)
        gather(subscriber, 1)
        with reading(engine) as session:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            session.execute(text(others))
        wait_until(lambda: tailer.state().failures >= 1, what="the loss of the connection")

        append(engine, 2)

        assert [event.payload["n"] for event in gather(subscriber, 2)] == [0, 1]


@pytest.mark.both_databases
def test_nothing_falls_between_what_is_replayed_and_what_follows(url: str, engine: Engine) -> None:
    """Streams that begin at any moment of a writer's work each tell the whole story once."""
    total = 200
    with following(engine) as (hub, _), reading(engine) as session:
        start = f"{runtime_flags.epoch(session)}-{events.last_id(session)}"
        session.rollback()
        other = open_engine(url)
        writer = threading.Thread(target=append, args=(other, total))
        writer.start()
        streams = []
        while writer.is_alive():
            streams.append((EventStream(engine, hub, ALL, start), bytearray()))
            writer.join(0.02)
        other.dispose()

        def told() -> bool:
            for stream, heard in streams:
                heard += stream.take(0) or b""
            return all(heard.count(b"event: ticket_event") >= total for _, heard in streams)

        wait_until(told, what="the whole story in every stream")
    assert len(streams) > 3
    for _, heard in streams:
        assert [int(number) for number in re.findall(rb'"n":(\d+)', heard)] == list(range(total))


@pytest.mark.both_databases
def test_every_store_has_an_epoch_of_its_own_from_the_first(engine: Engine) -> None:
    with reading(engine) as session:
        assert re.fullmatch("[0-9a-f]{8}", runtime_flags.epoch(session))
