"""The interface of a channel of alerts, and how one is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol, runtime_checkable

from jobs.job_context import JobContext
from tickets.alerts.alert import Alert


class SendFailed(Exception):
    """An alert was not sent. `retry_after` is the seconds that the service asks to wait, for the whole channel.

    With `is_permanent` it is not tried again. The message is shown on a page: it must hold no secret.
    """

    def __init__(self, message: str, retry_after: float | None = None, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.is_permanent = is_permanent


class Channel(Protocol):
    """A way to reach people. Its methods are called in threads of its own, and each call to a service has a time limit."""

    name: str

    def send(self, alert: Alert) -> str:
        """Send an alert and return a reference to what was sent. It may be repeated with the same `key`.

        Raises `SendFailed`.
        """
        ...

    def settle(self, alert: Alert, reference: str, text: str) -> None:
        """Show where an alert was sent that it needs nobody any more, for the reason in `text`. Raises `SendFailed`."""
        ...


@runtime_checkable
class InboundChannel(Channel, Protocol):
    """A channel that people also write to: `run` receives until `stop` is set, and is called again after an error."""

    def run(self, stop: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class ChannelSetup:
    """The parts of which a channel is built: its options, its secrets by name, and a log.

    Links in messages begin with `public_url` or are left out, as the board's own host name is a secret.
    """

    context: JobContext
    options: Mapping[str, Any]
    secrets: Mapping[str, str]
    log: Callable[[str], None]


ChannelBuilder = Callable[[ChannelSetup], Channel]
"""Each channel's module has one named `build_channel`. It raises `SendFailed` when it cannot be used as it is set up."""
