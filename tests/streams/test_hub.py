"""The queue of one client, the fan-out to all, and typing made fewer."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.waiting import wait_until
from tickets.shared.events import LogEntry
from web.site.connection_limit import ConnectionLimit
from web.stream.hub import EventFrame, Hub, Interest, Subscriber, coalesce_deltas

EVERY_TICKET = Interest(frozenset(), board=True)


def build_event(number: int, event_type: str = "ticket_moved", ticket_id: int | None = 1, **payload: Any) -> LogEntry:
    return LogEntry(
        number, ticket_id, "MC-1", "A title", number, event_type, "alice", 7, "2026-01-01T00:00:00.000000Z", payload
    )


def build_delta(number: int, offset: Any, text: Any, block: str = "b") -> LogEntry:
    return build_event(number, "agent.delta", block=block, kind="text", offset=offset, text=text)


def take_ids(subscriber: Subscriber) -> list[int]:
    return [frame.event.id for frame in subscriber.take(0)[0]]


def test_the_board_hears_of_all_tickets_but_of_agents_only_on_those_named() -> None:
    board = Interest(frozenset({1}), board=True)
    single = Interest(frozenset({1}), board=False)

    assert board.covers(build_event(1)) and single.covers(build_event(1))
    assert board.covers(build_event(1, "agent.text")) and single.covers(build_event(1, "agent.text"))
    assert board.covers(build_event(1, ticket_id=2)) and not single.covers(build_event(1, ticket_id=2))
    assert not board.covers(build_event(1, "run.output", ticket_id=2))
    assert board.covers(build_event(1, "switch_changed", ticket_id=None))


def test_every_subscriber_gets_what_it_wants_in_order() -> None:
    hub = Hub()
    one, two = hub.subscribe(EVERY_TICKET), hub.subscribe(Interest(frozenset({2}), board=False))

    hub.publish([build_event(1), build_event(2, ticket_id=2), build_event(5)])
    hub.unsubscribe(two)
    hub.publish([build_event(6, ticket_id=2)])

    assert take_ids(one) == [1, 2, 5, 6]
    assert take_ids(two) == [2]


def test_the_position_passes_over_what_was_of_no_interest_but_not_over_what_waits() -> None:
    subscriber = Subscriber(Interest(frozenset({1}), board=False))
    subscriber.offer([EventFrame(build_event(number)) for number in range(1, 151)], 150)
    subscriber.offer([EventFrame(build_event(151, ticket_id=2))], 151)

    frames, position = subscriber.take(0)
    assert position == frames[-1].event.id < 150
    frames, position = subscriber.take(0)
    assert (frames[-1].event.id, position) == (150, 151)
    assert subscriber.take(0) == ([], 151)


def test_a_queue_that_overran_keeps_its_beginning_takes_no_more_and_is_then_finished() -> None:
    subscriber = Subscriber(EVERY_TICKET, limit=2 * len(EventFrame(build_event(1)).body))
    subscriber.offer([EventFrame(build_event(1)), EventFrame(build_event(2))], 2)
    subscriber.offer([EventFrame(build_event(3))], 3)
    assert not subscriber.finished

    frames, position = subscriber.take(0)
    subscriber.offer([EventFrame(build_event(4))], 4)

    assert ([frame.event.id for frame in frames], position) == ([1, 2], 2)
    assert subscriber.take(0) == ([], 2)
    assert subscriber.finished


def test_room_in_a_queue_comes_back_as_it_is_read() -> None:
    subscriber = Subscriber(EVERY_TICKET, limit=len(EventFrame(build_event(1)).body))
    for number in range(1, 10):
        subscriber.offer([EventFrame(build_event(number))], number)
        assert take_ids(subscriber) == [number]
    assert not subscriber.finished


def test_a_subscriber_that_waits_is_woken_by_an_event() -> None:
    hub = Hub()
    subscriber = hub.subscribe(EVERY_TICKET)
    received_ids: list[int] = []
    waiting = threading.Thread(target=lambda: received_ids.extend(f.event.id for f in subscriber.take(30)[0]))
    waiting.start()

    hub.publish([build_event(1)])

    waiting.join(10)
    assert received_ids == [1]


def test_many_publishers_and_readers_lose_nothing_of_what_is_published_in_turn() -> None:
    hub = Hub()
    subscribers = [hub.subscribe(EVERY_TICKET) for _ in range(8)]
    results: list[list[int]] = [[] for _ in subscribers]

    def read(place: int) -> None:
        while len(results[place]) < 1000:
            results[place] += [frame.event.id for frame in subscribers[place].take(1)[0]]

    readers = [threading.Thread(target=read, args=(place,), daemon=True) for place in range(8)]
    for reader in readers:
        reader.start()
    for first in range(1, 1001, 10):
        hub.publish([build_event(number) for number in range(first, first + 10)])

    wait_until(
        lambda: all(len(received_ids) == 1000 for received_ids in results), description="all events at all subscribers"
    )
    assert results == [list(range(1, 1001))] * 8


def test_typing_that_continues_itself_becomes_one_piece_with_the_last_id() -> None:
    pieces = [build_delta(1, 0, "Hel"), build_delta(2, 3, "lo "), build_delta(3, 6, "there")]

    (combined,) = coalesce_deltas(pieces)

    assert combined.id == 3
    assert combined.payload == {"block": "b", "kind": "text", "offset": 0, "text": "Hello there"}


@pytest.mark.parametrize(
    "second",
    [
        build_delta(2, 4, "lo"),
        build_delta(2, 3, "lo", block="c"),
        replace(build_delta(2, 3, "lo"), run_id=8),
        replace(build_delta(2, 3, "lo"), event_type="agent.text"),
        build_delta(2, "3", "lo"),
        build_delta(2, 3, None),
        build_event(2, "agent.delta"),
    ],
    ids=["gap", "another block", "another run", "the full block", "odd offset", "odd text", "empty"],
)
def test_what_does_not_continue_the_typing_before_it_stays_as_it_is(second: LogEntry) -> None:
    assert coalesce_deltas([build_delta(1, 0, "Hel"), second]) == [build_delta(1, 0, "Hel"), second]


def test_typing_is_not_joined_across_another_event_which_a_client_could_resume_from() -> None:
    events = [build_delta(1, 0, "Hel"), build_event(2), build_delta(3, 3, "lo")]

    assert coalesce_deltas(events) == events


def test_a_frame_is_one_block_of_the_stream_whatever_its_text() -> None:
    body = EventFrame(build_event(1, text="a\r\nb\n\nc\u2028d ✓")).body.decode()

    head, data = body.removesuffix("\n\n").split("\n")
    assert head == "event: ticket_event"
    assert json.loads(data.removeprefix("data: "))["payload"] == {"text": "a\r\nb\n\nc\u2028d ✓"}


def test_a_payload_too_large_for_a_stream_is_left_out_and_says_so() -> None:
    body = EventFrame(build_event(1, text="x" * 200_000)).body.decode()

    assert len(body) < 1000
    assert json.loads(body.split("data: ")[1])["payload"]["omitted"] > 200_000


def test_places_are_limited_and_given_back_once() -> None:
    slots = ConnectionLimit(2)
    first, second = slots.take(), slots.take()
    assert first is not None and second is not None and slots.take() is None

    first.release()
    first.release()

    assert slots.taken == 1
    assert slots.take() is not None and slots.take() is None
