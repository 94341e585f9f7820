"""Reads what Claude Code prints with `--output-format stream-json`, line by line.

Tokens and money are taken from result lines only: the usage in `assistant` lines holds start values and
repeats for every block of a message. A result's `modelUsage` counts the whole conversation, earlier
processes included, so the totals here are the sum of `model_usage_since_last_result`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, cast

from workers.agents.deltas import Deltas
from workers.agents.error_classifier import diagnose, iso, reset_time
from workers.agents.tool_calls import call_events
from workers.agents.usage_counter import Tally
from workers.contract.agent import State
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, UnknownLine, amount, count, rows, table, text
from workers.contract.spec import Permissions

from .requests import Requests

_STATES: dict[str, State] = {"running": "running", "requires_action": "waiting", "idle": "idle"}
_RECEIPTS = {"queued": "queued", "started": "delivered", "completed": "accepted", "cancelled": "cancelled"}
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("input", "partial_json"),
}
SYNTHETIC = "<synthetic>"
"""The model name of messages that the program itself wrote."""


class ClaudeStream:
    """One process's output; keeps what later lines refer to."""

    def __init__(self, permissions: Permissions, secrets: Iterable[str]) -> None:
        self.state: State = "starting"
        self.requests = Requests(permissions)
        self.prompt_uuid = ""
        self.failed = False
        self._told_state = False
        self._session: tuple[str, str] | None = None
        self._deltas = Deltas(secrets)
        self._typing: dict[str, str] = {}
        self._blocks: dict[str, tuple[str, int]] = {}
        self._accepted: set[str] = set()
        self._tally = Tally()
        self._seen: dict[str, Fields] = {}
        self._reset_at: str | None = None
        self._readers: dict[str, Callable[[Fields], list[Event]]] = {
            "system": self._system,
            "assistant": self._assistant,
            "user": self._user,
            "stream_event": self._piece,
            "result": self._result,
            "command_lifecycle": self._lifecycle,
            "control_request": self._request,
            "control_cancel_request": self.requests.withdraw,
            "control_response": _response,
            "conversation_reset": self._cleared,
            "rate_limit_event": self._limit,
            "keep_alive": lambda _: [],
        }

    def read(self, message: Fields) -> list[Event]:
        """The events of one decoded line; raises `UnknownLine` for a type that is not known."""
        kind = text(message, "type")
        reader = self._readers.get(kind)
        if reader is None:
            raise UnknownLine(f"unknown type {kind!r}")
        return reader(message)

    def _system(self, message: Fields) -> list[Event]:
        match text(message, "subtype"):
            case "init":
                return self._init(message)
            case "session_state_changed":
                self._told_state = True
                return self._moved(_STATES.get(text(message, "state")), text(message, "state"))
            case "api_retry":
                return [_retry(message)]
            case "task_started" | "task_progress" | "task_notification" as subtype:
                return [_task(subtype, message)]
            case other:
                return _system_notice(other, message)

    def _init(self, message: Fields) -> list[Event]:
        """A session is told once, and again when its identity changes; `init` is printed for every turn."""
        running = self._moved("running", inferred=True)
        session = (text(message, "session_id"), text(message, "model"))
        if session == self._session:
            return running
        self._session = session
        tools = message.get("tools")
        servers = [
            {"name": text(server, "name"), "status": text(server, "status")} for server in rows(message, "mcp_servers")
        ]
        told = event(
            "session",
            conversation_id=session[0],
            model=session[1],
            program="claude",
            version=text(message, "claude_code_version"),
            tools=len(tools) if isinstance(tools, list) else None,
            mcp=servers,
        )
        return [told, *running]

    def _moved(self, state: State | None, name: str = "", inferred: bool = False) -> list[Event]:
        """The `state` event of a change. Once the program tells its state, nothing is inferred any more."""
        if inferred and self._told_state:
            return []
        if state is None:
            return [event("state", state="unknown", detail=name)]
        if state == self.state:
            return []
        self.state = state
        return [event("state", state=state)]

    def _request(self, message: Fields) -> list[Event]:
        """A request that waits for a person also means that the program waits."""
        events = self.requests.take(message)
        waits = any(told.kind in ("question", "approval") for told in events)
        return self._moved("waiting", inferred=True) + events if waits else events

    def _cleared(self, _: Fields) -> list[Event]:
        self._seen = {}
        return [event("notice", level="info", text="The conversation was cleared.")]

    # Messages

    def _assistant(self, message: Fields) -> list[Event]:
        body, parent = table(message, "message"), text(message, "parent_tool_use_id") or None
        content = rows(body, "content")
        if text(body, "model") == SYNTHETIC:
            return self._synthetic(message, "\n".join(text(block, "text") for block in content))
        if parent is None:
            usage = table(body, "usage")
            read = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
            self._tally.context_tokens = sum(count(usage, key) for key in read)
        seconds = amount(message, "thinking_duration_ms") / 1000 or None
        return [
            told
            for block in content
            for told in self._block(block, self._numbered(text(body, "id"), parent), parent, seconds)
        ]

    def _numbered(self, message_id: str, parent: str | None) -> str:
        """The block's name: its message and its number in it (a message arrives as one line per block)."""
        known, number = self._blocks.get(parent or "", ("", 0))
        number = number if known == message_id else 0
        self._blocks[parent or ""] = (message_id, number + 1)
        name = f"{message_id}:{number}"
        self._deltas.close(name)
        return name

    def _block(self, block: Fields, name: str, parent: str | None, seconds: float | None) -> list[Event]:
        match text(block, "type"):
            case "text":
                return [event("text", block=name, text=text(block, "text"), parent=parent)]
            case "thinking" | "redacted_thinking":
                thought = text(block, "thinking")
                return [event("thinking", block=name, text=thought, parent=parent, seconds=seconds)]
            case "tool_use" | "server_tool_use" | "mcp_tool_use":
                return call_events(text(block, "id"), text(block, "name"), table(block, "input"), parent)
            case kind if kind.endswith("_tool_result"):
                return [_tool_result(block, parent)]
            case other:
                raise UnknownLine(f"unknown block {other!r}")

    def _synthetic(self, message: Fields, said: str) -> list[Event]:
        if not (message.get("is_api_error_message") is True or text(message, "error")):
            return [event("notice", level="info", text=said)]
        failure = diagnose(f"{said} {text(message, 'api_error')}")
        if failure == "agent_failed":
            failure = diagnose(text(message, "error"))
        return [event("error", failure=failure, message=said, retry_at=self._retry_at(failure, said))]

    def _user(self, message: Fields) -> list[Event]:
        parent = text(message, "parent_tool_use_id") or None
        content = table(message, "message").get("content")
        if isinstance(content, str):
            return self._words(message, content, parent)
        events: list[Event] = []
        for block in rows(table(message, "message"), "content"):
            if text(block, "type") == "tool_result":
                events.append(_tool_result(block, parent))
            elif text(block, "type") == "text":
                events += self._words(message, text(block, "text"), parent)
        return events

    def _words(self, message: Fields, said: str, parent: str | None) -> list[Event]:
        """Text in the user's role: an echo of what was sent, a sub-agent's prompt, or the program's own remark."""
        uuid = text(message, "uuid")
        if message.get("isReplay") is True and not said.startswith("<local-command"):
            source = "prompt" if uuid == self.prompt_uuid else "echo"
            return [event("input", uuid=uuid, text=said, source=source), *self._receipt(uuid, "completed")]
        if parent is not None:
            return [event("input", text=said, source="prompt", parent=parent)]
        return [event("notice", level="info", text=said)]

    def _lifecycle(self, message: Fields) -> list[Event]:
        return self._receipt(text(message, "command_uuid"), text(message, "state"))

    def _receipt(self, uuid: str, state: str) -> list[Event]:
        told = _RECEIPTS.get(state)
        if told == "accepted":
            if uuid in self._accepted:
                return []
            self._accepted.add(uuid)
        elif uuid in self._accepted:
            return []
        return [event("receipt", uuid=uuid, state=told or "failed", detail=None if told else state)]

    def _piece(self, message: Fields) -> list[Event]:
        """A partial block; start and stop only tell which block the pieces belong to."""
        inner, parent = table(message, "event"), text(message, "parent_tool_use_id") or None
        if text(inner, "type") == "message_start":
            self._typing[parent or ""] = text(table(inner, "message"), "id")
        delta = table(inner, "delta")
        known = _DELTAS.get(text(delta, "type"))
        if text(inner, "type") != "content_block_delta" or known is None:
            return []
        name = f"{self._typing.get(parent or '', '')}:{count(inner, 'index')}"
        return self._deltas.add(name, known[0], text(delta, known[1]), parent)

    # Ends of turns

    def _result(self, message: Fields) -> list[Event]:
        self._count(message)
        said = _last_words(message)
        failure = self._failure(message, said)
        self.failed = failure is not None
        ended = event(
            "result",
            ok=message.get("is_error") is not True,
            text=said,
            failure=failure,
            retry_at=self._retry_at(failure, said),
            stop_reason=_stop_reason(message),
            turns=count(message, "num_turns"),
            seconds=amount(message, "duration_ms") / 1000,
        )
        return [self._tally.event(), ended, *self._moved("idle", inferred=True)]

    def _failure(self, message: Fields, said: str) -> str | None:
        """The class of a result that is an error, whatever its subtype says; an interrupted turn is none."""
        if message.get("is_error") is not True or _stop_reason(message) == "interrupted":
            return None
        if "max_turns" in (text(message, "subtype") + text(message, "terminal_reason")):
            return "budget"
        if self._reset_at:
            return "usage_limit"
        return diagnose(f"{said} {text(message, 'api_error')}", count(message, "api_error_status") or None)

    def _count(self, message: Fields) -> None:
        tally = self._tally
        for model, used in self._used(message).items():
            tally.input_tokens += count(used, "inputTokens")
            tally.output_tokens += count(used, "outputTokens")
            tally.cache_read_tokens += count(used, "cacheReadInputTokens")
            tally.cache_write_tokens += count(used, "cacheCreationInputTokens")
            tally.cost_usd = (tally.cost_usd or 0.0) + amount(used, "costUSD")
            window = count(table(table(message, "modelUsage"), model), "contextWindow")
            tally.context_window = window or tally.context_window
        tally.turns += count(message, "num_turns")

    def _used(self, message: Fields) -> dict[str, Fields]:
        """Usage by model since the last result; for versions that do not tell it, how much the totals grew."""
        totals = {model: table(table(message, "modelUsage"), model) for model in table(message, "modelUsage")}
        since = message.get("model_usage_since_last_result")
        if isinstance(since, dict):
            return {model: table(since, model) for model in since}
        before, self._seen = self._seen, {**self._seen, **totals}
        return {model: _growth(before.get(model, {}), now) for model, now in totals.items()}

    def _limit(self, message: Fields) -> list[Event]:
        """The account's allowance: near its end is a warning, used up is the failure that parks a ticket."""
        info = table(message, "rate_limit_info")
        status, resets = text(info, "status"), amount(info, "resetsAt")
        at = iso(resets) if resets else None
        name = text(info, "rateLimitType").replace("_", " ") or "usage"
        if status == "rejected" and text(info, "overageStatus") not in ("allowed", "allowed_warning"):
            self._reset_at = at
            return [event("error", failure="usage_limit", message=f"The {name} limit is reached.", retry_at=at)]
        self._reset_at = None
        if status == "allowed":
            return []
        return [event("notice", level="warning", text=f"Close to the {name} limit (reset {at or 'unknown'}).")]

    def _retry_at(self, failure: str | None, said: str) -> str | None:
        return (self._reset_at or reset_time(said)) if failure == "usage_limit" else None


def _last_words(message: Fields) -> str:
    if _stop_reason(message) == "interrupted":
        return "Interrupted."
    errors = message.get("errors")
    said = [error for error in errors if isinstance(error, str)] if isinstance(errors, list) else []
    return text(message, "result") or "\n".join(said)


def _stop_reason(message: Fields) -> str | None:
    terminal = text(message, "terminal_reason")
    return "interrupted" if terminal.startswith("aborted") else terminal or text(message, "stop_reason") or None


def _growth(before: Fields, now: Fields) -> Fields:
    counted = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    grown: dict[str, float] = {key: max(0, count(now, key) - count(before, key)) for key in counted}
    grown["costUSD"] = max(0.0, amount(now, "costUSD") - amount(before, "costUSD"))
    return grown


def _tool_result(block: Fields, parent: str | None) -> Event:
    content = block.get("content")
    output = content if isinstance(content, str) else "\n".join(map(_shown, rows(block, "content")))
    failed = block.get("is_error") is True
    code = output.removeprefix("Exit code ").split("\n", 1)[0] if output.startswith("Exit code ") else ""
    return event(
        "tool_result",
        call=text(block, "tool_use_id"),
        output=output,
        error=failed,
        exit_code=int(code) if failed and code.isdecimal() and len(code) < 4 else None,
        parent=parent,
    )


def _shown(part: Fields) -> str:
    return text(part, "text") if text(part, "type") == "text" else f"[{text(part, 'type') or 'data'}]"


def _retry(message: Fields) -> Event:
    said = text(message, "error")
    status = count(message, "error_status") or None
    return event(
        "retry",
        attempt=count(message, "attempt"),
        limit=count(message, "max_retries"),
        delay_seconds=amount(message, "retry_delay_ms") / 1000,
        failure="network" if status is None and said == "unknown" else diagnose(said, status),
        message=f"{said} ({status})" if status else said,
    )


def _task(subtype: str, message: Fields) -> Event:
    state: Literal["started", "progress", "ended"] = "ended"
    if subtype != "task_notification":
        state = cast(Literal["started", "progress"], subtype.removeprefix("task_"))
    return event(
        "task",
        task=text(message, "task_id"),
        state=state,
        title=text(message, "description") or text(message, "summary"),
        kind={"local_agent": "agent", "local_bash": "command"}.get(text(message, "task_type")),
        status=text(message, "status") or None,
        parent=text(message, "tool_use_id") or None,
    )


def _response(message: Fields) -> list[Event]:
    """Answers to our own requests matter only where they refuse."""
    response = table(message, "response")
    if text(response, "subtype") != "error":
        return []
    return [event("notice", level="warning", text=f"Claude Code refused a request: {text(response, 'error')}")]


def _system_notice(subtype: str, message: Fields) -> list[Event]:
    """System lines that a person may want to read; those that repeat other lines give nothing."""
    match subtype:
        case "status" if text(message, "status") == "compacting":
            return [event("notice", level="info", text="Compacting the conversation.")]
        case "compact_boundary":
            numbers = table(message, "compact_metadata")
            sizes = f"{count(numbers, 'pre_tokens')} to {count(numbers, 'post_tokens')} tokens"
            return [event("notice", level="info", text=f"Compacted the conversation from {sizes}.")]
        case "permission_denied":
            denied = f"{text(message, 'tool_name')} was denied. {text(message, 'message')}"
            return [event("notice", level="warning", text=denied)]
        case "hook_response" if text(message, "outcome") not in ("success", ""):
            said = text(message, "stderr") or text(message, "output")
            return [event("notice", level="warning", text=f"Hook {text(message, 'hook_name')} failed. {said}")]
        case "notification":
            return [event("notice", level="info", text=text(message, "text"))]
        case other if other in QUIET:
            return []
        case other:
            raise UnknownLine(f"unknown system line {other!r}")


QUIET = frozenset(
    {
        "status",
        "thinking_tokens",
        "hook_started",
        "hook_progress",
        "hook_response",
        "background_tasks_changed",
        "task_updated",
        "files_persisted",
    }
)
"""System lines without an event: they repeat what other lines tell, or change nothing a person sees."""
