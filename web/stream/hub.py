"""Subscribers of the event log in this process, with bounded queues that one `EventPoller` fills."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from protocol import EventType
from tickets.shared.events import LogEntry

RUN_EVENT_PREFIXES = ("agent.", "run.", "script.", "external.")
"""Prefixes of the event types that runs report. The board's stream carries all other events."""

MAX_QUEUE_BYTES = 4 << 20
MAX_PAYLOAD_BYTES = 128 << 10
BATCH_SIZE = 100


@dataclass(frozen=True, slots=True)
class Interest:
    """Filter of a stream: all events of its tickets and, with `board`, those of other tickets that runs do not report."""

    tickets: frozenset[int]
    board: bool

    def covers(self, event: LogEntry) -> bool:
        return event.ticket_id in self.tickets or (self.board and not event.event_type.startswith(RUN_EVENT_PREFIXES))


@dataclass(frozen=True)
class EventFrame:
    """An event encoded once for all clients, without the `id:` line, which each stream adds."""

    event: LogEntry

    @cached_property
    def body(self) -> bytes:
        text = _dump_event(self.event)
        if len(text) > MAX_PAYLOAD_BYTES:
            text = _dump_event(replace(self.event, payload={"omitted": len(text)}))
        return f"event: ticket_event\ndata: {text}\n\n".encode()


def _dump_event(event: LogEntry) -> str:
    return json.dumps(event.as_json(), ensure_ascii=False, separators=(",", ":"))


class Subscriber:
    """Queue of one client, which overflows at `limit` bytes.

    After an overflow it accepts no more events: the client reconnects with its cursor.
    """

    def __init__(self, interest: Interest, limit: int = MAX_QUEUE_BYTES) -> None:
        self._interest = interest
        self._limit = limit
        self._changed = threading.Condition()
        self._frames: deque[EventFrame] = deque()
        self._bytes = 0
        self._position = 0
        self._overrun = False

    def offer(self, frames: Sequence[EventFrame], position: int) -> None:
        """Queue the frames that the filter covers. `position` is the last event id of the batch, filtered out or not."""
        relevant = [frame for frame in frames if self._interest.covers(frame.event)]
        size = sum(len(frame.body) for frame in relevant)
        with self._changed:
            self._overrun = self._overrun or self._bytes + size > self._limit
            if not self._overrun:
                self._frames.extend(relevant)
                self._bytes += size
                self._position = position
            self._changed.notify()

    def take(self, timeout: float) -> tuple[list[EventFrame], int]:
        """Take the frames queued within `timeout` seconds, and the event id that the client's cursor then has reached."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._overrun, timeout)
            frames = [self._frames.popleft() for _ in range(min(len(self._frames), BATCH_SIZE))]
            self._bytes -= sum(len(frame.body) for frame in frames)
            return frames, frames[-1].event.id if self._frames else self._position

    @property
    def finished(self) -> bool:
        """True when the queue has overflowed and its frames have been taken."""
        with self._changed:
            return self._overrun and not self._frames


class Hub:
    """Publisher of events to the subscribers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: set[Subscriber] = set()

    def subscribe(self, interest: Interest) -> Subscriber:
        subscriber = Subscriber(interest)
        with self._lock:
            self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)

    @property
    def has_subscribers(self) -> bool:
        return bool(self._subscribers)

    def publish(self, events: Sequence[LogEntry]) -> None:
        """Queue events for every subscriber, in the order of their ids.

        The lock makes a new subscriber receive a batch completely or not at all.
        """
        frames = [EventFrame(event) for event in coalesce_deltas(events)]
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.offer(frames, events[-1].id)


def coalesce_deltas(events: Sequence[LogEntry]) -> list[LogEntry]:
    """Merge consecutive `agent.delta` events of one block into one event with the last id.

    Clients place a delta by its `offset`, so that text which arrives again within a longer delta does no harm.
    """
    merged: list[LogEntry] = []
    for event in events:
        if merged and _is_continuation(merged[-1], event):
            text = merged[-1].payload["text"] + event.payload["text"]
            merged[-1] = replace(event, payload=event.payload | {"offset": merged[-1].payload["offset"], "text": text})
        else:
            merged.append(event)
    return merged


def _is_continuation(before: LogEntry, event: LogEntry) -> bool:
    first, second = _parse_delta(before), _parse_delta(event)
    return first is not None and second is not None and first[:3] == second[:3] and first[4] == second[3]


def _parse_delta(event: LogEntry) -> tuple[object, object, object, int, int] | None:
    """Return run, block, kind, start and end offset of an `agent.delta` event, or None for any other event.

    The payload comes from a worker, so its types are checked.
    """
    offset, text = event.payload.get("offset"), event.payload.get("text")
    if event.event_type != EventType.DELTA or not isinstance(offset, int) or not isinstance(text, str):
        return None
    return event.run_id, event.payload.get("block"), event.payload.get("kind"), offset, offset + len(text)
