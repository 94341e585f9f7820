"""Redaction of secrets in everything that a wrapper writes or sends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .agent_events import AgentEvent, measure_overlap, redact_text


class Redaction:
    """The secrets of a run, both plain and JSON-encoded."""

    def __init__(self, secrets: Iterable[str]) -> None:
        plain = {secret for secret in secrets if secret}
        self._secrets = tuple(plain | {json.dumps(secret)[1:-1] for secret in plain})

    def redact_text(self, text: str) -> str:
        return redact_text(text, self._secrets)

    def redact_event(self, event: AgentEvent) -> AgentEvent:
        """Redact an event. A clipped text may end in half of a secret, which is removed too."""
        clean = event.redact_secrets(self._secrets)
        if not clean.payload.get("truncated"):
            return clean
        whole = {key: self._whole(value) for key, value in clean.payload.items()}
        return AgentEvent(clean.kind, whole)

    def redact_value(self, value: Any) -> Any:
        """Redact a JSON value."""
        return AgentEvent("notice", {"value": value}).redact_secrets(self._secrets).payload["value"]

    def measure_secret_prefix(self, text: str) -> int:
        """Return how many characters at the end of `text` could be the start of a secret."""
        return max((measure_overlap(text, secret) for secret in self._secrets), default=0)

    def _whole(self, value: object) -> object:
        return value[: len(value) - self.measure_secret_prefix(value)] if isinstance(value, str) else value
