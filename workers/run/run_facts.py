"""The facts derived from a run's events, live in the wrapper or by a replay of the spool once the wrapper is dead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol import EventType, ReceiptState

MAX_TEXTS = 40
"""How many of the last texts are kept for a transcript sweep."""

RECEIPT_STEPS = {ReceiptState.QUEUED.value: 1, ReceiptState.DELIVERED.value: 2}
"""The order of a receipt's states. Any other state is final."""
FINAL_STEP = 3

Payload = Mapping[str, Any]


@dataclass(slots=True)
class RunFacts:
    """The state of a run. `said` is the last complete text of the main agent, `result` the turn's end (None in a turn).

    `plan_request` is the request with which the last plan waits, empty for one that ends the run. `retry` is the failure
    that the program is retrying, None once it works again.
    """

    conversation_id: str | None = None
    said: str = ""
    result: Payload | None = None
    error: Payload | None = None
    retry: Payload | None = None
    usage: Payload | None = None
    open_tasks: set[str] = field(default_factory=set)
    pending: dict[str, Payload] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)
    plan_request: str = ""
    transcript: list[str] = field(default_factory=list)

    def take(self, event_type: str, payload: Payload) -> None:
        """Update from one event. Types that do not matter for the outcome are ignored."""
        if learn := _HANDLERS.get(event_type):
            learn(self, payload)

    def has_receipt(self, receipt: Payload) -> bool:
        """True when a message already has this receipt or a later one. A program with a queue of its own reports it again."""
        before = self.receipts.get(str(receipt.get("uuid")))
        return before is not None and _get_receipt_step(receipt.get("state")) <= _get_receipt_step(before)

    @property
    def final_message(self) -> str:
        """The last text of a turn that ended well, empty while there is none."""
        if self.result is None or not self.result.get("ok"):
            return ""
        return str(self.result.get("text") or self.said)

    def _take_session(self, payload: Payload) -> None:
        self.conversation_id = payload.get("conversation_id") or self.conversation_id

    def _take_text(self, payload: Payload) -> None:
        self._remember(str(payload.get("text", "")))
        if not payload.get("parent"):
            self.said = str(payload.get("text", ""))
        self._take_work(payload)

    def _take_work(self, payload: Payload) -> None:
        """Reopen the turn when the main agent goes on. An earlier failure did not stop it."""
        if not payload.get("parent"):
            self.result = self.error = self.retry = None

    def _take_output(self, payload: Payload) -> None:
        self._remember(str(payload.get("text") or payload.get("output") or ""))

    def _take_result(self, payload: Payload) -> None:
        self.result = payload
        if payload.get("ok"):
            self.error = None

    def _take_error(self, payload: Payload) -> None:
        self.error = payload

    def _take_retry(self, payload: Payload) -> None:
        self.retry = payload

    def _take_usage(self, payload: Payload) -> None:
        self.usage = payload

    def _take_task(self, payload: Payload) -> None:
        change = self.open_tasks.discard if payload.get("state") == "ended" else self.open_tasks.add
        change(str(payload.get("task")))

    def _add_request(self, payload: Payload) -> None:
        self.pending[str(payload.get("request"))] = payload

    def _take_plan(self, payload: Payload) -> None:
        self.plan_request = str(payload.get("request", ""))
        if self.plan_request:
            self._add_request(payload)

    def _remove_request(self, payload: Payload) -> None:
        self.pending.pop(str(payload.get("request")), None)

    def _take_receipt(self, payload: Payload) -> None:
        """Record a receipt: by uuid for a message, by the request's name for the answer to a question or approval."""
        self.receipts[str(payload.get("uuid"))] = str(payload.get("state"))
        self.pending.pop(str(payload.get("uuid")), None)

    def _remember(self, text: str) -> None:
        if text.strip():
            self.transcript = [*self.transcript[1 - MAX_TEXTS :], text[-4000:]]


def _get_receipt_step(state: object) -> int:
    return RECEIPT_STEPS.get(str(state), FINAL_STEP)


_HANDLERS: Mapping[str, Callable[[RunFacts, Payload], None]] = {
    EventType.SESSION: RunFacts._take_session,
    EventType.TEXT: RunFacts._take_text,
    EventType.TOOL_CALL: RunFacts._take_work,
    EventType.INPUT: RunFacts._take_work,
    EventType.TOOL_RESULT: RunFacts._take_output,
    EventType.RUN_OUTPUT: RunFacts._take_output,
    EventType.RESULT: RunFacts._take_result,
    EventType.ERROR: RunFacts._take_error,
    EventType.RETRY: RunFacts._take_retry,
    EventType.USAGE: RunFacts._take_usage,
    EventType.TASK: RunFacts._take_task,
    EventType.QUESTION: RunFacts._add_request,
    EventType.APPROVAL: RunFacts._add_request,
    EventType.PLAN: RunFacts._take_plan,
    EventType.WITHDRAWN: RunFacts._remove_request,
    EventType.RECEIPT: RunFacts._take_receipt,
}
