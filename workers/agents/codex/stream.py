"""The parser of the notifications of `codex app-server`.

One server has several threads: the run's own, and one for each of its sub-agents, whose events carry the call
that started them as `parent`. Token totals are per thread and count earlier processes of a resumed one, so
the totals of a thread before its first turn here are subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from protocol import AgentState
from workers.agents.deltas import DeltaThrottle
from workers.agents.permissions import RequestPolicy
from workers.agents.reset_times import find_retry_time, format_time
from workers.agents.usage_counter import UsageCounter
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, UnknownLine, get_amount, get_count, get_object, get_objects, get_text

from . import items
from .exec_stream import RECONNECTING
from .requests import CodexRequests
from .wordings import diagnose

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
_TOKEN_KEYS = ("inputTokens", "cachedInputTokens", "cacheWriteInputTokens", "outputTokens")
_WARNINGS = frozenset({"warning", "configWarning", "guardianWarning", "deprecationNotice"})


class CodexStream:
    """The parser of one server's notifications, with the state that later ones refer to."""

    def __init__(self, policy: RequestPolicy, secrets: Iterable[str]) -> None:
        self.state: AgentState = "starting"
        self.requests = CodexRequests(policy)
        self.thread = ""
        self.turn: str | None = None
        self.prompt_uuid = ""
        self.failed = False
        self._deltas = DeltaThrottle(secrets)
        self._parents: dict[str, str] = {}
        self._resumed = False
        self._before: dict[str, int] = {}
        self._totals: dict[str, dict[str, int]] = {}
        self._counter = UsageCounter()
        self._said = ""
        self._reset_at: str | None = None
        self._readers: dict[str, Callable[[Fields], list[AgentEvent]]] = {
            "thread/status/changed": self._read_status,
            "turn/started": self._read_turn_start,
            "turn/completed": self._read_turn_end,
            "turn/plan/updated": self._read_checklist,
            "item/started": self._read_item_start,
            "item/completed": self._read_item_end,
            "item/agentMessage/delta": lambda params: self._read_piece("text", params),
            "item/plan/delta": lambda params: self._read_piece("text", params),
            "item/reasoning/summaryTextDelta": lambda params: self._read_piece("thinking", params),
            "item/reasoning/textDelta": lambda params: self._read_piece("thinking", params),
            "thread/tokenUsage/updated": self._read_usage,
            "account/rateLimits/updated": self._read_limits,
            "serverRequest/resolved": self.requests.withdraw,
            "error": self._read_error,
        }

    def read(self, message: Fields) -> list[AgentEvent]:
        """Parse one notification or request into events. `UnknownLine` for an unknown method."""
        method, params = get_text(message, "method"), get_object(message, "params")
        if "id" in message:
            return self.requests.take(message)
        reader = self._readers.get(method)
        return reader(params) if reader else _read_notice(method, params)

    def begin(self, thread: str, resumed: bool) -> None:
        """Set the run's own thread, and whether an earlier process has used it."""
        self.thread, self._resumed = thread, resumed

    def _find_parent(self, params: Fields) -> str | None:
        thread = get_text(params, "threadId")
        return None if thread in ("", self.thread) else self._parents.get(thread, thread)

    # State and turns

    def _read_status(self, params: Fields) -> list[AgentEvent]:
        if self._find_parent(params):
            return []
        status = get_object(params, "status")
        flags = status.get("activeFlags")
        match get_text(status, "type"):
            case "active":
                return self._change_state("waiting" if flags else "running")
            case "idle":
                return self._change_state("idle")
            case other:
                return [make_event("state", state="unknown", detail=other)]

    def _change_state(self, state: AgentState) -> list[AgentEvent]:
        if state == self.state:
            return []
        self.state = state
        return [make_event("state", state=state)]

    def _read_turn_start(self, params: Fields) -> list[AgentEvent]:
        if self._find_parent(params):
            return []
        self.turn, self._said = get_text(get_object(params, "turn"), "id"), ""
        return self._change_state("running")

    def _read_turn_end(self, params: Fields) -> list[AgentEvent]:
        if self._find_parent(params):
            return []
        turn = get_object(params, "turn")
        status, error = get_text(turn, "status"), get_object(turn, "error")
        self.turn, self.failed = None, status == "failed"
        self._counter.turns += 1
        failure = self._classify_failure(error) if self.failed else None
        ended = make_event(
            "result",
            ok=status == "completed",
            text=self._said if status == "completed" else get_text(error, "message") or f"{status.capitalize()}.",
            failure=failure,
            retry_at=find_retry_time(failure, get_text(error, "message"), self._reset_at),
            stop_reason=status,
            seconds=get_amount(turn, "durationMs") / 1000,
        )
        return [self._counter.make_event(), ended, *self._change_state("idle")]

    def _read_checklist(self, params: Fields) -> list[AgentEvent]:
        if self._find_parent(params):
            return []
        return [items.make_plan_event(params)]

    # Items

    def _read_item_start(self, params: Fields) -> list[AgentEvent]:
        item = get_object(params, "item")
        for thread in items.list_agent_threads(item):
            self._parents.setdefault(thread, get_text(item, "id"))
        return items.make_start_events(item, self._find_parent(params))

    def _read_item_end(self, params: Fields) -> list[AgentEvent]:
        item, parent = get_object(params, "item"), self._find_parent(params)
        self._deltas.close(get_text(item, "id"))
        for thread in items.list_agent_threads(item):
            self._parents.setdefault(thread, get_text(item, "id"))
        if get_text(item, "type") == "userMessage":
            return self._read_user_message(item, parent)
        if get_text(item, "type") == "agentMessage" and parent is None:
            self._said = get_text(item, "text")
        return items.make_end_events(item, parent)

    def _read_user_message(self, item: Fields, parent: str | None) -> list[AgentEvent]:
        """Convert a user's message. With one of our uuids it also proves that the message was accepted."""
        uuid = get_text(item, "clientId")
        source = "prompt" if parent or uuid == self.prompt_uuid else "echo"
        input_event = make_event(
            "input", uuid=uuid or None, text=items.read_message_text(item), source=source, parent=parent
        )
        return [input_event, make_event("receipt", uuid=uuid, state="accepted")] if uuid else [input_event]

    def _read_piece(self, kind: str, params: Fields) -> list[AgentEvent]:
        return self._deltas.add(get_text(params, "itemId"), kind, get_text(params, "delta"), self._find_parent(params))

    # Usage and errors

    def _read_usage(self, params: Fields) -> list[AgentEvent]:
        thread, usage = get_text(params, "threadId"), get_object(params, "tokenUsage")
        total, last = get_object(usage, "total"), get_object(usage, "last")
        if thread == self.thread and self._resumed and not self._before:
            self._before = {
                key: get_count(total, key) - (get_count(last, key) if self.turn else 0) for key in _TOKEN_KEYS
            }
        before = self._before if thread == self.thread else {}
        self._totals[thread] = {key: max(0, get_count(total, key) - before.get(key, 0)) for key in _TOKEN_KEYS}
        sums = {key: sum(thread_totals[key] for thread_totals in self._totals.values()) for key in _TOKEN_KEYS}
        counter = self._counter
        counter.cache_read_tokens, counter.cache_write_tokens = sums["cachedInputTokens"], sums["cacheWriteInputTokens"]
        cached = counter.cache_read_tokens + counter.cache_write_tokens
        counter.input_tokens, counter.output_tokens = max(0, sums["inputTokens"] - cached), sums["outputTokens"]
        if self._find_parent(params) is None:
            counter.context_tokens = get_count(last, "totalTokens") or counter.context_tokens
            counter.context_window = get_count(usage, "modelContextWindow") or counter.context_window
        return [counter.make_event()]

    def _read_limits(self, params: Fields) -> list[AgentEvent]:
        """Record when an exhausted rate limit is reset. The failed turn reports that it is exhausted."""
        limits = get_object(params, "rateLimits")
        full: list[float] = [
            get_amount(window, "resetsAt")
            for window in (get_object(limits, "primary"), get_object(limits, "secondary"))
            if get_amount(window, "usedPercent") >= 100
        ]
        self._reset_at = format_time(max(full)) if any(full) else None
        return []

    def _read_error(self, params: Fields) -> list[AgentEvent]:
        error = get_object(params, "error")
        error_text, failure = get_text(error, "message"), self._classify_failure(error)
        if params.get("willRetry") is not True:
            return [
                make_event(
                    "error",
                    failure=failure,
                    message=error_text,
                    retry_at=find_retry_time(failure, error_text, self._reset_at),
                )
            ]
        again = RECONNECTING.match(error_text)
        attempt, limit = (int(again[1]), int(again[2])) if again else (0, 0)
        reason = get_text(error, "additionalDetails") or error_text
        retry = make_event("retry", attempt=attempt, limit=limit, delay_seconds=0, failure=failure, message=reason)
        return [retry]

    def _classify_failure(self, error: Fields) -> str:
        """Classify a turn's error by Codex's own code, else by the HTTP status or the message."""
        info = error.get("codexErrorInfo")
        if isinstance(info, str) and info in _FAILURES:
            return _FAILURES[info]
        error_text = f"{get_text(error, 'message')} {get_text(error, 'additionalDetails')}"
        if isinstance(info, dict):
            name, detail = next(iter(info.items()), ("", {}))
            status = get_count(detail, "httpStatusCode") if isinstance(detail, dict) else 0
            return diagnose(f"{error_text} {name}", status or None)
        return diagnose(error_text)


def _read_notice(method: str, params: Fields) -> list[AgentEvent]:
    """Convert notifications that a person may want to read. Those that repeat others make no event."""
    if method in _WARNINGS:
        notice_text = get_text(params, "message") or get_text(params, "summary")
        return [make_event("notice", level="warning", text=notice_text)]
    if method == "mcpServer/startupStatus/updated" and get_text(params, "status") == "failed":
        notice_text = f"MCP server {get_text(params, 'name')} did not start. {get_text(params, 'error')}"
        return [make_event("notice", level="warning", text=notice_text)]
    run = get_object(params, "run")
    if method == "hook/completed" and get_text(run, "status") not in ("completed", ""):
        notice_text = " ".join(get_text(entry, "text") for entry in get_objects(run, "entries"))
        return [make_event("notice", level="warning", text=f"Hook {get_text(run, 'eventName')} failed. {notice_text}")]
    if method == "model/rerouted":
        return [make_event("notice", level="info", text=f"The model changed to {get_text(params, 'toModel')}.")]
    if method not in SILENT_METHODS:
        raise UnknownLine(f"unknown notification {method!r}")
    return []


SILENT_METHODS = frozenset(
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
"""Notifications without an event: they repeat others, or change nothing that a person sees."""
