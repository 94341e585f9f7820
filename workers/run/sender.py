"""The thread that sends a run's events from its spool to the server."""

from __future__ import annotations

import threading
import time

from protocol import MAX_BATCH_EVENTS, EventType

from .api import NDJSON_TYPE, STALE_STATUSES, ApiClient, ApiResponse, Unreachable
from .spool import Spool, SpoolPosition
from .supervised_thread import FailureLog, SupervisedThread

MAX_BATCH_BYTES = 1_000_000
LINGER_SECONDS = 0.05
"""A short wait that collects a batch, since an agent's events come in bursts."""
MIN_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 5.0
REJECTED_STATUSES = frozenset({413, 415, 422})
"""Statuses with which the server rejects the events themselves. Any other refusal, such as that of another program on
its port, says nothing about them.
"""


class Sender(SupervisedThread):
    """Posts events in order, in batches, and retries while the server is down.

    Ends when closed, when the server refuses the run, or when the spool is gone. The rest stays in the spool for the reaper.
    """

    def __init__(self, spool: Spool, api: ApiClient, ticket_id: int, log: FailureLog | None = None) -> None:
        super().__init__("sender", log)
        self._spool = spool
        self._api = api
        self._path = f"/tickets/{ticket_id}/events"
        self._position = SpoolPosition()
        self._sent = 0
        self._lines = MAX_BATCH_EVENTS
        self._pause = 0.0
        self._hurry = threading.Event()
        self.refused: int | None = None
        self.is_spool_gone = False

    def work(self) -> None:
        while not self._closing.is_set() and not self.is_finished:
            if self._spool.wait_for_events(self._sent, timeout=1.0):
                self._hurry.wait(LINGER_SECONDS)
                self._send_batch()
                if self._hurry.wait(self._pause):
                    self._hurry.clear()

    @property
    def is_finished(self) -> bool:
        """True when no further event will be sent."""
        return self.refused is not None or self.is_spool_gone

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds, and return True when everything spooled has reached the server."""
        deadline = time.monotonic() + timeout
        last = self._spool.last_seq
        self._hurry.set()
        while not self.is_finished and self.is_alive():
            left = deadline - time.monotonic()
            if self._spool.wait_acknowledged(last, max(0.0, min(left, 0.2))) or left <= 0:
                break
        return self._spool.acknowledged >= last

    def close(self) -> None:
        """Stop sending. Unsent events stay in the spool."""
        self._closing.set()
        self._hurry.set()

    def _send_batch(self) -> None:
        try:
            batch, after = self._spool.batch(self._position, self._lines, MAX_BATCH_BYTES)
        except FileNotFoundError:
            self.is_spool_gone = True
            return
        try:
            answer = self._api.post(self._path, b"".join(batch), NDJSON_TYPE)
        except Unreachable:
            self._back_off()
            return
        self._settle(answer, len(batch), after)

    def _settle(self, answer: ApiResponse, count: int, after: SpoolPosition) -> None:
        """Act on the server's response to a batch."""
        if answer.status == 200:
            self._accept_batch(count, after)
        elif answer.status in STALE_STATUSES:
            self.refused = answer.status
        elif answer.status not in REJECTED_STATUSES:
            self._back_off()
        elif count > 1:
            self._lines = max(1, count // 2)  # one of these lines is unacceptable: halve the batch to find it
        else:
            self._skip_event(answer.status, after)

    def _accept_batch(self, count: int, after: SpoolPosition) -> None:
        self._position = after
        self._sent += count
        self._spool.acknowledge(self._sent)
        self._lines = min(MAX_BATCH_EVENTS, self._lines * 2)
        self._pause = 0.0

    def _skip_event(self, status: int, after: SpoolPosition) -> None:
        """Skip an event that the server rejects, and record the rejection as a notice."""
        self._accept_batch(1, after)
        text = f"The server refused event {self._sent} with status {status}; it remains in the spool."
        self._spool.append(EventType.NOTICE.value, {"text": text, "level": "warning"})

    def _back_off(self) -> None:
        self._pause = min(MAX_PAUSE_SECONDS, max(MIN_PAUSE_SECONDS, self._pause * 2))
