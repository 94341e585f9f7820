"""Event stream of one client: the events that it missed since its cursor, then new ones.

A cursor is `<epoch>-<id>`: the epoch of the database, which changes when a backup is restored, and an id of the event log.
If the missed events are too many or unknown, a single `resync` event asks the page to reload its data.
"""

from __future__ import annotations

import re

from database import Engine, Session, reading
from tickets.shared import events, runtime_flags

from .hub import EventFrame, Hub, Interest, coalesce_deltas

MAX_REPLAY = 500
CURSOR = re.compile(r"([0-9a-z]{1,32})-([0-9]{1,18})")


class EventStream:
    """Stream source that replays missed events and then follows the hub.

    It subscribes before it reads the log, and skips published events that it has read, so that no event is lost or sent
    twice.
    """

    def __init__(self, engine: Engine, hub: Hub, interest: Interest, cursor_text: str | None) -> None:
        self._interest = interest
        self._hub = hub
        self._subscriber = hub.subscribe(interest)
        try:
            with reading(engine) as session:
                self._epoch = runtime_flags.get_epoch(session)
                self._cursor, self._past = self._catch_up(session, cursor_text)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._hub.unsubscribe(self._subscriber)

    def take(self, timeout: float) -> bytes | None:
        """Return new events within `timeout` seconds, or None when the queue overflowed and the client has to reconnect."""
        if self._past:
            past, self._past = self._past, b""
            return past
        frames, position = self._subscriber.take(timeout)
        news = self._tell([frame for frame in frames if frame.event.id > self._cursor])
        self._cursor = max(self._cursor, position)
        return None if not news and self._subscriber.finished else news

    def idle(self) -> bytes:
        return b": still here\n" + self._id(self._cursor) + b"\n"

    def _catch_up(self, session: Session, cursor_text: str | None) -> tuple[int, bytes]:
        """Return the id after which events are new, and the data to send first."""
        newest = events.get_last_id(session)
        if not cursor_text:
            return newest, self._id(newest) + b"\n"
        cursor = self._place(cursor_text)
        if cursor is None or cursor > newest:
            return newest, self._resync(newest)
        missed_events = events.list_after(session, cursor, MAX_REPLAY + 1)
        if len(missed_events) > MAX_REPLAY:
            return newest, self._resync(newest)
        relevant = [event for event in missed_events if self._interest.covers(event)]
        cursor = missed_events[-1].id if missed_events else cursor
        return cursor, self._tell([EventFrame(event) for event in coalesce_deltas(relevant)]) + self._id(cursor) + b"\n"

    def _place(self, cursor_text: str) -> int | None:
        """Parse the event id of a cursor, or return None for an invalid cursor or one of another epoch."""
        match = CURSOR.fullmatch(cursor_text)
        return int(match[2]) if match and match[1] == self._epoch else None

    def _resync(self, newest: int) -> bytes:
        return self._id(newest) + b"event: resync\ndata: {}\n\n"

    def _tell(self, frames: list[EventFrame]) -> bytes:
        return b"".join(self._id(frame.event.id) + frame.body for frame in frames)

    def _id(self, number: int) -> bytes:
        return f"id: {self._epoch}-{number}\n".encode()
