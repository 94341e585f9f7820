"""Who listens to the event log in this process: subscribers with bounded queues, filled by one tailer."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tickets.shared.events import Logged

GRANULAR = ("agent.", "run.", "script.", "external.")
"""What a run reports of itself; everything else in the log is of interest to the whole board."""

QUEUE_BYTES = 4 << 20
PAYLOAD_BYTES = 128 << 10
TAKE = 100


@dataclass(frozen=True, slots=True)
class Interest:
    """What one stream carries: everything about its tickets and, with `board`, what happens to all others."""

    tickets: frozenset[int]
    board: bool

    def covers(self, event: Logged) -> bool:
        return event.ticket_id in self.tickets or (self.board and not event.event_type.startswith(GRANULAR))


@dataclass(frozen=True)
class Frame:
    """One event as it goes out, encoded once for all clients; the `id:` line is the stream's to add."""

    event: Logged

    @cached_property
    def body(self) -> bytes:
        text = _json(self.event)
        if len(text) > PAYLOAD_BYTES:
            text = _json(replace(self.event, payload={"omitted": len(text)}))
        return f"event: ticket_event\ndata: {text}\n\n".encode()


def _json(event: Logged) -> str:
    return json.dumps(event.as_json(), ensure_ascii=False, separators=(",", ":"))


class Subscriber:
    """One client's queue. When more than `limit` bytes wait it takes no more: the client resumes from its cursor."""

    def __init__(self, interest: Interest, limit: int = QUEUE_BYTES) -> None:
        self._interest = interest
        self._limit = limit
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._position = 0
        self._overrun = False

    def offer(self, frames: Sequence[Frame], position: int) -> None:
        """Queue what is of interest; `position` is the last id that was looked at, of interest or not."""
        wanted = [frame for frame in frames if self._interest.covers(frame.event)]
        size = sum(len(frame.body) for frame in wanted)
        with self._changed:
            self._overrun = self._overrun or self._bytes + size > self._limit
            if not self._overrun:
                self._frames.extend(wanted)
                self._bytes += size
                self._position = position
            self._changed.notify()

    def take(self, timeout: float) -> tuple[list[Frame], int]:
        """What has come within `timeout` seconds, and the id up to which the client then misses nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._overrun, timeout)
            frames = [self._frames.popleft() for _ in range(min(len(self._frames), TAKE))]
            self._bytes -= sum(len(frame.body) for frame in frames)
            return frames, frames[-1].event.id if self._frames else self._position

    @property
    def finished(self) -> bool:
        """Whether the queue overran and what was in it has been taken."""
        with self._changed:
            return self._overrun and not self._frames


class Hub:
    """Hands each event of the log to every subscriber that wants it."""

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

    def publish(self, events: Sequence[Logged]) -> None:
        """Fan out events in the order of their ids; the lock makes a new subscriber see a batch whole or not at all."""
        frames = [Frame(event) for event in coalesced(events)]
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.offer(frames, events[-1].id)


def coalesced(events: Sequence[Logged]) -> list[Logged]:
    """The events with typing that directly continues itself joined into one, which has the last id.

    Clients place typing by its `offset`, so that a piece which comes again within a longer one does no harm.
    """
    joined: list[Logged] = []
    for event in events:
        if joined and _continues(joined[-1], event):
            text = joined[-1].payload["text"] + event.payload["text"]
            joined[-1] = replace(event, payload=event.payload | {"offset": joined[-1].payload["offset"], "text": text})
        else:
            joined.append(event)
    return joined


def _continues(before: Logged, event: Logged) -> bool:
    first, second = _piece(before), _piece(event)
    return first is not None and second is not None and first[:3] == second[:3] and first[4] == second[3]


def _piece(event: Logged) -> tuple[object, object, object, int, int] | None:
    """Of typing: run, block, kind, and the characters it spans. Payloads are the worker's: nothing is taken on trust."""
    offset, text = event.payload.get("offset"), event.payload.get("text")
    if event.event_type != "agent.delta" or not isinstance(offset, int) or not isinstance(text, str):
        return None
    return event.run_id, event.payload.get("block"), event.payload.get("kind"), offset, offset + len(text)
