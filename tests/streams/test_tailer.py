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
from web.stream.event_poller import EventPoller
from web.stream.event_stream import EventStream
from web.stream.hub import Hub, Interest, Subscriber

ALICE = Actor.human("alice")
EVERY_TICKET = Interest(frozenset(), board=True)


@contextmanager
def run_tailer(engine: Engine) -> Iterator[tuple[Hub, EventPoller]]:
    hub = Hub()
    tailer = EventPoller(engine, hub)
    tailer.start()
    try:
        yield hub, tailer
    finally:
        tailer.stop()
        wait_until(lambda: not tailer.state().alive, description="the end of the tailer")


def is_resting(looks: list[float]) -> bool:
    """Return whether the tailer polls no more for a while."""
    before = len(looks)
    time.sleep(0.3)
    return len(looks) == before


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_it_looks_rarely_while_nobody_follows_and_at_once_when_somebody_begins(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.stream.event_poller.ATTENTIVE_SECONDS", 0.0)
    monkeypatch.setattr("web.stream.event_poller.IDLE_POLL_SECONDS", 3600.0)
    looks: list[float] = []

    class RecordingWatcher(ChangeWatcher):
        def __init__(self, watched_engine: Engine) -> None:
            super().__init__(watched_engine)
            self._is_ours = watched_engine is engine  # pollers of earlier tests may still be running in this process

        def has_changed(self, timeout: float) -> bool:
            if self._is_ours:
                looks.append(timeout)
            return super().has_changed(timeout)

    monkeypatch.setattr("web.stream.event_poller.ChangeWatcher", RecordingWatcher)
    with run_tailer(engine) as (hub, tailer):
        wait_until(lambda: len(looks) > 1, description="the first looks")
        wait_until(lambda: is_resting(looks), description="the long interval")
        before, position = len(looks), tailer.state().position
        append_events(engine, 1)
        time.sleep(0.2)
        assert (len(looks), tailer.state().position) == (before, position), "nobody follows"

        subscriber = hub.subscribe(EVERY_TICKET)
        tailer.start()
        append_events(engine, 1)
        assert [event.payload["n"] for event in take_events(subscriber, 2)] == [0, 0]


def append_events(engine: Engine, count: int, name: str = "alice") -> None:
    for number in range(count):
        with writing(engine) as session:
            events.append(session, None, "note", {"who": name, "n": number}, ALICE)


def take_events(subscriber: Subscriber, count: int) -> list[events.LogEntry]:
    entries: list[events.LogEntry] = []

    def has_enough() -> bool:
        entries.extend(frame.event for frame in subscriber.take(0.1)[0])
        return len(entries) >= count

    wait_until(has_enough, timeout=30, description=f"{count} events")
    return entries


@pytest.mark.both_databases
def test_events_of_other_connections_arrive_in_order_each_once(url: str, engine: Engine) -> None:
    append_events(engine, 3)
    others = [open_engine(url) for _ in range(4)]
    with run_tailer(engine) as (hub, _):
        subscriber = hub.subscribe(EVERY_TICKET)
        writers = [threading.Thread(target=append_events, args=(o, 50, str(n))) for n, o in enumerate(others)]
        for writer in writers:
            writer.start()
        entries = take_events(subscriber, 200)
        for writer in writers:
            writer.join()
    for other in others:
        other.dispose()

    assert [event.id for event in entries] == sorted({event.id for event in entries})
    for name in "0123":
        assert [event.payload["n"] for event in entries if event.payload["who"] == name] == list(range(50))


@pytest.mark.both_databases
def test_a_burst_longer_than_a_page_is_followed_to_its_end(engine: Engine) -> None:
    with run_tailer(engine) as (hub, _):
        subscriber = hub.subscribe(EVERY_TICKET)
        with writing(engine) as session:
            for number in range(1200):
                events.append(session, None, "note", {"n": number}, ALICE)

        assert [event.payload["n"] for event in take_events(subscriber, 1200)] == list(range(1200))


@pytest.mark.both_databases
def test_the_tailer_survives_a_store_that_cannot_be_read_and_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_broken = threading.Event()

    def sometimes(engine: Engine) -> object:
        if is_broken.is_set():
            raise OSError("the disk is away")
        return reading(engine)

    monkeypatch.setattr("web.stream.event_poller.reading", sometimes)
    with run_tailer(engine) as (hub, tailer):
        subscriber = hub.subscribe(EVERY_TICKET)
        append_events(engine, 1)
        take_events(subscriber, 1)
        is_broken.set()
        append_events(engine, 5)
        wait_until(lambda: tailer.state().failures >= 2, description="attempts that fail")
        assert tailer.state().failing == "OSError: the disk is away"

        is_broken.clear()

        assert [event.payload["n"] for event in take_events(subscriber, 5)] == list(range(5))
        wait_until(lambda: tailer.state().failing is None, description="the all-clear")
        assert tailer.state().alive


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_the_tailer_listens_again_when_its_connection_was_cut(engine: Engine) -> None:
    with run_tailer(engine) as (hub, tailer):
        subscriber = hub.subscribe(EVERY_TICKET)
        append_events(engine, 1)
        take_events(subscriber, 1)
        with reading(engine) as session:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            session.execute(text(others))
        wait_until(lambda: tailer.state().failures >= 1, description="the loss of the connection")

        append_events(engine, 2)

        assert [event.payload["n"] for event in take_events(subscriber, 2)] == [0, 1]


@pytest.mark.both_databases
def test_nothing_falls_between_what_is_replayed_and_what_follows(url: str, engine: Engine) -> None:
    """Streams that begin at any moment of a writer's work each tell the whole story once."""
    total = 200
    with run_tailer(engine) as (hub, _), reading(engine) as session:
        start = f"{runtime_flags.get_epoch(session)}-{events.get_last_id(session)}"
        session.rollback()
        other = open_engine(url)
        writer = threading.Thread(target=append_events, args=(other, total))
        writer.start()
        streams = []
        while writer.is_alive():
            streams.append((EventStream(engine, hub, EVERY_TICKET, start), bytearray()))
            writer.join(0.02)
        other.dispose()

        def have_whole_story() -> bool:
            for stream, buffer in streams:
                buffer += stream.take(0) or b""
            return all(buffer.count(b"event: ticket_event") >= total for _, buffer in streams)

        wait_until(have_whole_story, description="the whole story in every stream")
    assert len(streams) > 3
    for _, buffer in streams:
        assert [int(number) for number in re.findall(rb'"n":(\d+)', buffer)] == list(range(total))


@pytest.mark.both_databases
def test_every_store_has_an_epoch_of_its_own_from_the_first(engine: Engine) -> None:
    with reading(engine) as session:
        assert re.fullmatch("[0-9a-f]{8}", runtime_flags.get_epoch(session))
