"""The channels of alerts in the scheduler: a thread each, so that one that hangs stops neither another nor the scheduler.

1. Read which channels of this home are enabled or have something to send, when the store has changed.
2. For each, in its thread: collect new alerts from the event log, then send and settle what is due, one after the other.
3. Load a channel's module when it first has something to do.
4. Run the inbound side of a channel that has one in another thread, again after a while when it fails.
"""

from __future__ import annotations

import importlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import failpoints
import secret_files
from database import reading, writing
from failpoints import Failpoint
from jobs import single_flight
from jobs.job_context import JobContext
from models import AlertDelivery, AlertState, now
from redaction import SHAPES, Redaction
from tickets.alerts import channels, deliveries
from tickets.alerts.alert import Alert
from workers.host.job_thread import JobThread

from .channel import Channel, ChannelSetup, InboundChannel, SendFailed

CHANNEL_MODULES = {
    "email": "jobs.alerts.email_channel",
    "push": "jobs.alerts.push_channel",
    "apprise": "jobs.alerts.apprise_channel",
    "telegram": "jobs.alerts.telegram.telegram_channel",
}
"""The module with the `build_channel` of each channel, loaded when it is used."""
INBOUND_CHANNELS = frozenset({"telegram"})
"""Channels that people also write to, which are loaded before the first alert."""
INBOUND_RETRY_SECONDS = 10.0


class AlertRunner:
    """Runs the channels. `tick` is called each second and starts what is due."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._context = context
        self._log = log
        self._workers: dict[str, ChannelWorker] = {}
        self._stopping = threading.Event()

    def tick(self, *, is_changed: bool) -> None:
        """Start the channels that have something to do. The store is read only when it has changed."""
        if is_changed:
            self._load_workers()
        for worker in self._workers.values():
            worker.tick(is_changed=is_changed)

    @property
    def is_busy(self) -> bool:
        return any(worker.is_busy for worker in self._workers.values())

    def stop(self) -> None:
        """End the inbound sides. What is being sent is repeated by the next scheduler."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.stop()

    def _load_workers(self) -> None:
        with reading(self._context.engine) as session:
            rows = channels.list_working(session)
        settings = self._context.settings
        working = {name: rows[name] for name in rows if secret_files.is_channel_set_up(settings, name)}
        for name, worker in list(self._workers.items()):
            if working.get(name) != worker.change_time:
                worker.stop()
                del self._workers[name]
        for name, change_time in working.items():
            if name not in self._workers:
                self._workers[name] = ChannelWorker(self._context, name, change_time, self._log)


class ChannelWorker:
    """One channel as it was set up at `change_time`."""

    def __init__(self, context: JobContext, name: str, change_time: datetime, log: Callable[[str], None]) -> None:
        self._context = context
        self._name = name
        self.change_time = change_time
        self._log = log
        self._channel: Channel | None = None
        self._redaction = SHAPES
        self._opening = threading.Lock()
        self._stopping = threading.Event()
        self._thread = JobThread(f"alerts-{name}", f"alerts by {name}", log)
        self._inbound = JobThread(f"alerts-{name}-inbound", f"receiving by {name}", log)
        self._inbound_due = 0.0
        self._is_owed = True
        self._next_due: datetime | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread.is_alive

    def tick(self, *, is_changed: bool) -> None:
        """Start a pass when there may be something to do, and the inbound side when it does not run."""
        self._is_owed |= is_changed
        if not self._thread.is_alive and (self._is_owed or (self._next_due is not None and self._next_due <= now())):
            self._is_owed = False
            self._thread.start(self._make_pass)
        is_inbound_due = self._name in INBOUND_CHANNELS and time.monotonic() >= self._inbound_due
        if is_inbound_due and not self._inbound.is_alive:
            self._inbound_due = time.monotonic() + INBOUND_RETRY_SECONDS
            self._inbound.start(self._receive)

    def stop(self) -> None:
        """Begin nothing more. A message that is being sent is completed by its own thread."""
        self._stopping.set()

    def _receive(self) -> None:
        try:
            channel = self._open()
        except SendFailed:
            self._inbound_due = math.inf  # other settings make a new worker
            raise
        assert isinstance(channel, InboundChannel), f"{self._name} is no inbound channel"
        channel.run(self._stopping)

    def _make_pass(self) -> None:
        """Collect, send and settle until nothing is due, unless another host does."""
        try:
            while not self._stopping.is_set() and self._has_work():
                with single_flight.hold_lease(self._context, f"alerts-{self._name}"):
                    self._collect()
                    self._deliver()
        except single_flight.AlreadyRunning:
            pass
        with reading(self._context.engine) as session:
            self._next_due = deliveries.find_next_due(session, self._name)

    def _has_work(self) -> bool:
        with reading(self._context.engine) as session:
            if deliveries.has_news(session, self._name):
                return True
            due = deliveries.find_next_due(session, self._name)
        return due is not None and due <= now()

    def _collect(self) -> None:
        is_owed = True
        while is_owed:
            with writing(self._context.engine) as session:
                is_owed = deliveries.collect(session, self._name, self._context.settings.zone)

    def _deliver(self) -> None:
        with writing(self._context.engine) as session:
            deliveries.postpone_in_quiet_hours(session, self._name, self._context.settings.zone)
            rows = deliveries.list_due(session, self._name)
        messages = deliveries.group_due(rows)
        for group in messages:
            if not self._stopping.is_set():
                self._send(group)
        for row in rows:
            if row.state is AlertState.SENT and not self._stopping.is_set():
                self._settle(row)

    def _send(self, rows: Sequence[AlertDelivery]) -> None:
        """Send one message. Killed before the result is recorded, it is sent again."""
        ids = [row.id for row in rows]
        if not self._begin(ids):
            return
        try:
            reference = self._open().send(deliveries.build_message(rows))
            failpoints.kill_at(Failpoint.ALERT_SENT)
        except Exception as error:
            self._record_failure(rows, error)
            return
        with writing(self._context.engine) as session:
            deliveries.record_sent(session, rows, reference)

    def _settle(self, row: AlertDelivery) -> None:
        if not self._begin([row.id]):
            return
        try:
            self._open().settle(Alert.from_json(row.alert), row.reference or "", row.settlement or "")
        except Exception as error:
            self._record_failure([row], error)
            return
        with writing(self._context.engine) as session:
            deliveries.record_settled(session, row.id)

    def _begin(self, ids: Sequence[int]) -> bool:
        with writing(self._context.engine) as session:
            return deliveries.begin_attempt(session, ids)

    def _record_failure(self, rows: Sequence[AlertDelivery], error: Exception) -> None:
        failure = error if isinstance(error, SendFailed) else SendFailed(f"{type(error).__name__}: {error}")
        reason = self._redaction.clean_text(failure.message)
        self._log(f"alerts by {self._name}: {reason}")
        with writing(self._context.engine) as session:
            deliveries.record_failure(session, rows, reason, failure.retry_after, failure.is_permanent)

    def _open(self) -> Channel:
        """Build the channel at its first use, once for what is sent and what is received."""
        with self._opening:
            if self._channel is None:
                self._channel = self._build()
            return self._channel

    def _build(self) -> Channel:
        with reading(self._context.engine) as session:
            options = dict(channels.get_channel(session, self._name).options)
        settings = self._context.settings
        secrets = secret_files.read_channel_secrets(settings, self._name)
        self._redaction = Redaction(secrets.values())  # a server or a library may repeat what it was given
        setup = ChannelSetup(self._context, options, secrets, self._log)
        channel: Channel = importlib.import_module(CHANNEL_MODULES[self._name]).build_channel(setup)
        return channel
