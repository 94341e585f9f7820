"""Which targets of a channel have got an alert, so that a retry goes to the others alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from .channel import SendFailed

Target = TypeVar("Target")


class SendProgress:
    """Sends one message to several targets. What a channel remembers ends with its process, which errs on sending twice."""

    def __init__(self) -> None:
        self._sent_names: dict[str, set[str]] = {}

    def send_to_all(self, key: str, targets: Mapping[str, Target], send: Callable[[Target], None]) -> None:
        """Send to each target, by name, that has not got the message `key`. Raises the failure that waits the longest."""
        sent_names = self._sent_names.setdefault(key, set())
        failures: list[SendFailed] = []
        for name in targets.keys() - sent_names:
            try:
                send(targets[name])
                sent_names.add(name)
            except SendFailed as failure:
                failures.append(failure)
        if failures:
            raise merge_failures(failures)
        del self._sent_names[key]


def merge_failures(failures: Iterable[SendFailed]) -> SendFailed:
    """Merge the failures of several targets. It is permanent only when all are."""
    listed = list(failures)
    waits = [failure.retry_after for failure in listed if failure.retry_after is not None]
    text = " ".join(dict.fromkeys(failure.message for failure in listed))
    return SendFailed(text, max(waits, default=None), is_permanent=all(failure.is_permanent for failure in listed))
