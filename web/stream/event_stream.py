"""What an event stream tells one client: what it missed since its cursor, then what happens.

A cursor is `<epoch>-<id>`: an id of the event log, and the epoch of the store, which changes when a backup is restored.
Where the past cannot be told one by one, a single `resync` event asks the page to read its data again.
"""

from __future__ import annotations

import re

from database import Engine, Session, reading
from tickets.shared import events, runtime_flags

from .hub import Frame, Hub, Interest, coalesced

REPLAY = 500
CURSOR = re.compile(r"([0-9a-z]{1,32})-([0-9]{1,18})")


class EventStream:
    """One subscription. It subscribes before it reads the past, and skips what it has read: no gap and no repetition."""

    def __init__(self, engine: Engine, hub: Hub, interest: Interest, given: str | None) -> None:
        self._interest = interest
        self._hub = hub
        self._subscriber = hub.subscribe(interest)
        try:
            with reading(engine) as session:
                self._epoch = runtime_flags.epoch(session)
                self._cursor, self._past = self._catch_up(session, given)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._hub.unsubscribe(self._subscriber)

    def take(self, timeout: float) -> bytes | None:
        """What is new within `timeout` seconds; None when the queue overran, and the client has to resume."""
        if self._past:
            past, self._past = self._past, b""
            return past
        frames, position = self._subscriber.take(timeout)
        news = self._tell([frame for frame in frames if frame.event.id > self._cursor])
        self._cursor = max(self._cursor, position)
        return None if not news and self._subscriber.finished else news

    def idle(self) -> bytes:
        return b": still here\n" + self._id(self._cursor) + b"\n"

    def _catch_up(self, session: Session, given: str | None) -> tuple[int, bytes]:
        """The id from which on events are new, and what to send first."""
        newest = events.last_id(session)
        if not given:
            return newest, self._id(newest) + b"\n"
        cursor = self._place(given)
        if cursor is None or cursor > newest:
            return newest, self._resync(newest)
        missed = events.after(session, cursor, REPLAY + 1)
        if len(missed) > REPLAY:
            return newest, self._resync(newest)
        wanted = [event for event in missed if self._interest.covers(event)]
        cursor = missed[-1].id if missed else cursor
        return cursor, self._tell([Frame(event) for event in coalesced(wanted)]) + self._id(cursor) + b"\n"

    def _place(self, given: str) -> int | None:
        """The id in a client's cursor; None when it is of another epoch or no cursor at all."""
        match = CURSOR.fullmatch(given)
        return int(match[2]) if match and match[1] == self._epoch else None

    def _resync(self, newest: int) -> bytes:
        return self._id(newest) + b"event: resync\ndata: {}\n\n"

    def _tell(self, frames: list[Frame]) -> bytes:
        return b"".join(self._id(frame.event.id) + frame.body for frame in frames)

    def _id(self, number: int) -> bytes:
        return f"id: {self._epoch}-{number}\n".encode()
