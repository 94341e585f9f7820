"""Reads the notifications of `codex app-server` and turns them into events.

One server holds several threads: the run's own, and one for each of its sub-agents, whose events carry the call
that started them as `parent`. Token totals are told per thread and count earlier processes of a resumed one, so
what a thread had before its first turn here is taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workers.agents.deltas import Deltas
from workers.agents.error_classifier import diagnose, iso, reset_time
from workers.agents.usage_counter import Tally
from workers.contract.agent import State
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, UnknownLine, amount, count, rows, table, text
from workers.contract.spec import Permissions

from . import items
from .exec_stream import RECONNECTING
from .requests import Requests

_FAILURES = {
    "contextWindowExceeded": "context_overflow",
    "sessionBudgetExceeded": "budget",
    "usageLimitExceeded": "usage_limit",
    "rateLimitExceeded": "rate_limit",
    "serverOverloaded": "server_error",
    "internalServerError": "server_error",
    "flexUnavailable": "server_error",
    "unauthorized": "authentication",
    "sandboxError": "environment",
    "tooManyDenials": "tool_denied",
}
_COUNTED = ("inputTokens", "cachedInputTokens", "cacheWriteInputTokens", "outputTokens")
_WARNINGS = frozenset({"warning", "configWarning", "guardianWarning", "deprecationNotice"})


class CodexStream:
    """One server's notifications; keeps what later ones refer to."""

    def __init__(self, permissions: Permissions, secrets: Iterable[str]) -> None:
        self.state: State = "starting"
        self.requests = Requests(permissions)
        self.thread = ""
        self.turn: str | None = None
        self.prompt_uuid = ""
        self.failed = False
        self._deltas = Deltas(secrets)
        self._parents: dict[str, str] = {}
        self._resumed = False
        self._before: dict[str, int] = {}
        self._totals: dict[str, dict[str, int]] = {}
        self._tally = Tally()
        self._said = ""
        self._reset_at: str | None = None
        self._readers: dict[str, Callable[[Fields], list[Event]]] = {
            "thread/status/changed": self._status,
            "turn/started": self._turn_started,
            "turn/completed": self._turn_completed,
            "item/started": self._item_started,
            "item/completed": self._item_completed,
            "item/agentMessage/delta": lambda params: self._piece("text", params),
            "item/plan/delta": lambda params: self._piece("text", params),
            "item/reasoning/summaryTextDelta": lambda params: self._piece("thinking", params),
            "item/reasoning/textDelta": lambda params: self._piece("thinking", params),
            "thread/tokenUsage/updated": self._usage,
            "account/rateLimits/updated": self._limits,
            "serverRequest/resolved": self.requests.withdraw,
            "error": self._error,
        }

    def read(self, message: Fields) -> list[Event]:
        """The events of one notification or request; raises `UnknownLine` for a method that is not known."""
        method, params = text(message, "method"), table(message, "params")
        if "id" in message:
            return self.requests.take(message)
        reader = self._readers.get(method)
        return reader(params) if reader else _notice(method, params)

    def begin(self, thread: str, resumed: bool) -> None:
        """The run's own thread is known, and whether an earlier process has used it."""
        self.thread, self._resumed = thread, resumed

    def _parent(self, params: Fields) -> str | None:
        thread = text(params, "threadId")
        return None if thread in ("", self.thread) else self._parents.get(thread, thread)

    # State and turns

    def _status(self, params: Fields) -> list[Event]:
        if self._parent(params):
            return []
        status = table(params, "status")
        flags = status.get("activeFlags")
        match text(status, "type"):
            case "active":
                return self._moved("waiting" if flags else "running")
            case "idle":
                return self._moved("idle")
            case other:
                return [event("state", state="unknown", detail=other)]

    def _moved(self, state: State) -> list[Event]:
        if state == self.state:
            return []
        self.state = state
        return [event("state", state=state)]

    def _turn_started(self, params: Fields) -> list[Event]:
        if self._parent(params):
            return []
        self.turn, self._said = text(table(params, "turn"), "id"), ""
        return self._moved("running")

    def _turn_completed(self, params: Fields) -> list[Event]:
        if self._parent(params):
            return []
        turn = table(params, "turn")
        status, error = text(turn, "status"), table(turn, "error")
        self.turn, self.failed = None, status == "failed"
        self._tally.turns += 1
        failure = self._failure(error) if self.failed else None
        ended = event(
            "result",
            ok=status == "completed",
            text=self._said if status == "completed" else text(error, "message") or f"{status.capitalize()}.",
            failure=failure,
            retry_at=self._retry_at(failure, text(error, "message")),
            stop_reason=status,
            seconds=amount(turn, "durationMs") / 1000,
        )
        return [self._tally.event(), ended, *self._moved("idle")]

    # Items

    def _item_started(self, params: Fields) -> list[Event]:
        item = table(params, "item")
        for thread in items.agent_threads(item):
            self._parents.setdefault(thread, text(item, "id"))
        return items.started(item, self._parent(params))

    def _item_completed(self, params: Fields) -> list[Event]:
        item, parent = table(params, "item"), self._parent(params)
        self._deltas.close(text(item, "id"))
        for thread in items.agent_threads(item):
            self._parents.setdefault(thread, text(item, "id"))
        if text(item, "type") == "userMessage":
            return self._user_message(item, parent)
        if text(item, "type") == "agentMessage" and parent is None:
            self._said = text(item, "text")
        return items.completed(item, parent)

    def _user_message(self, item: Fields, parent: str | None) -> list[Event]:
        """What the model was told; with our uuid it is also the proof that a message has arrived."""
        uuid = text(item, "clientId")
        source = "prompt" if parent or uuid == self.prompt_uuid else "echo"
        told = event("input", uuid=uuid or None, text=items.spoken(item), source=source, parent=parent)
        return [told, event("receipt", uuid=uuid, state="accepted")] if uuid else [told]

    def _piece(self, kind: str, params: Fields) -> list[Event]:
        return self._deltas.add(text(params, "itemId"), kind, text(params, "delta"), self._parent(params))

    # Usage and errors

    def _usage(self, params: Fields) -> list[Event]:
        thread, usage = text(params, "threadId"), table(params, "tokenUsage")
        total, last = table(usage, "total"), table(usage, "last")
        if thread == self.thread and self._resumed and not self._before:
            self._before = {key: count(total, key) - (count(last, key) if self.turn else 0) for key in _COUNTED}
        before = self._before if thread == self.thread else {}
        self._totals[thread] = {key: max(0, count(total, key) - before.get(key, 0)) for key in _COUNTED}
        sums = {key: sum(each[key] for each in self._totals.values()) for key in _COUNTED}
        tally = self._tally
        tally.cache_read_tokens, tally.cache_write_tokens = sums["cachedInputTokens"], sums["cacheWriteInputTokens"]
        cached = tally.cache_read_tokens + tally.cache_write_tokens
        tally.input_tokens, tally.output_tokens = max(0, sums["inputTokens"] - cached), sums["outputTokens"]
        if self._parent(params) is None:
            tally.context_tokens = count(last, "totalTokens") or tally.context_tokens
            tally.context_window = count(usage, "modelContextWindow") or tally.context_window
        return [tally.event()]

    def _limits(self, params: Fields) -> list[Event]:
        """Remember when an exhausted allowance is reset; the failed turn says that it is exhausted."""
        limits = table(params, "rateLimits")
        full: list[float] = [
            amount(window, "resetsAt")
            for window in (table(limits, "primary"), table(limits, "secondary"))
            if amount(window, "usedPercent") >= 100
        ]
        self._reset_at = iso(max(full)) if any(full) else None
        return []

    def _error(self, params: Fields) -> list[Event]:
        error = table(params, "error")
        said, failure = text(error, "message"), self._failure(error)
        if params.get("willRetry") is not True:
            return [event("error", failure=failure, message=said, retry_at=self._retry_at(failure, said))]
        again = RECONNECTING.match(said)
        attempt, limit = (int(again[1]), int(again[2])) if again else (0, 0)
        reason = text(error, "additionalDetails") or said
        retry = event("retry", attempt=attempt, limit=limit, delay_seconds=0, failure=failure, message=reason)
        return [retry]

    def _failure(self, error: Fields) -> str:
        """The class of a turn's error: by Codex's own word, else by the HTTP status or the message."""
        info = error.get("codexErrorInfo")
        if isinstance(info, str) and info in _FAILURES:
            return _FAILURES[info]
        said = f"{text(error, 'message')} {text(error, 'additionalDetails')}"
        if isinstance(info, dict):
            name, detail = next(iter(info.items()), ("", {}))
            status = count(detail, "httpStatusCode") if isinstance(detail, dict) else 0
            return diagnose(f"{said} {name}", status or None)
        return diagnose(said)

    def _retry_at(self, failure: str | None, said: str) -> str | None:
        return (self._reset_at or reset_time(said)) if failure == "usage_limit" else None


def _notice(method: str, params: Fields) -> list[Event]:
    """Notifications that a person may want to read; those that repeat others give nothing."""
    if method in _WARNINGS:
        said = text(params, "message") or text(params, "summary")
        return [event("notice", level="warning", text=said)]
    if method == "mcpServer/startupStatus/updated" and text(params, "status") == "failed":
        said = f"MCP server {text(params, 'name')} did not start. {text(params, 'error')}"
        return [event("notice", level="warning", text=said)]
    run = table(params, "run")
    if method == "hook/completed" and text(run, "status") not in ("completed", ""):
        said = " ".join(text(entry, "text") for entry in rows(run, "entries"))
        return [event("notice", level="warning", text=f"Hook {text(run, 'eventName')} failed. {said}")]
    if method == "model/rerouted":
        return [event("notice", level="info", text=f"The model changed to {text(params, 'toModel')}.")]
    if method not in QUIET:
        raise UnknownLine(f"unknown notification {method!r}")
    return []


QUIET = frozenset(
    {
        "thread/started",
        "thread/closed",
        "thread/compacted",
        "thread/name/updated",
        "thread/settings/updated",
        "thread/readState/changed",
        "thread/queue/changed",
        "thread/goal/updated",
        "thread/goal/cleared",
        "thread/environment/connected",
        "thread/environment/disconnected",
        "thread/prediction/updated",
        "turn/diff/updated",
        "turn/plan/updated",
        "turn/moderationMetadata",
        "item/reasoning/summaryPartAdded",
        "item/commandExecution/outputDelta",
        "item/commandExecution/terminalInteraction",
        "item/fileChange/outputDelta",
        "item/fileChange/patchUpdated",
        "item/mcpToolCall/progress",
        "item/autoApprovalReview/started",
        "item/autoApprovalReview/completed",
        "hook/started",
        "hook/completed",
        "mcpServer/startupStatus/updated",
        "account/updated",
        "skills/changed",
        "app/list/updated",
        "remoteControl/status/changed",
        "fs/changed",
        "model/verification",
        "model/safetyBuffering/updated",
        "rawResponseItem/completed",
        "rawResponse/completed",
    }
)
"""Notifications without an event: they repeat what others tell, or change nothing a person sees."""
