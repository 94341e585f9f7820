"""The parser of Claude Code's output with `--output-format stream-json`, line by line.

Tokens and costs are those of the result lines. Until the next one, the usage of the partial messages is added, so that
a budget ends a run in the middle of its turn; the usage in `assistant` lines contains start values and repeats for every
block of a message. A result's `modelUsage` counts the whole conversation, earlier processes included, so the totals here
are the sum of `model_usage_since_last_result`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Literal, cast

from protocol import AgentState
from workers.agents.deltas import DeltaThrottle
from workers.agents.permissions import RequestPolicy
from workers.agents.reset_times import bound_reset_time, find_retry_time, format_time
from workers.agents.tool_calls import make_call_events, make_refusal
from workers.agents.tool_requests import PLAN_TOOL, ClaudeRequests
from workers.agents.usage_counter import UsageCounter
from workers.contract.agent_events import AgentEvent, make_event, make_raw_event
from workers.contract.fields import Fields, UnknownLine, get_amount, get_count, get_object, get_objects, get_text

from .checklist import TaskList
from .live_usage import LiveUsage
from .wordings import diagnose

_STATES: dict[str, AgentState] = {"running": "running", "requires_action": "waiting", "idle": "idle"}
_RECEIPTS = {"queued": "queued", "started": "delivered", "completed": "accepted", "cancelled": "cancelled"}
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("input", "partial_json"),
}
_DENIED = re.compile(r"Permission to use \w+ with command (?P<command>.*) has been denied\.", re.DOTALL)
SYNTHETIC = "<synthetic>"
"""The model name of messages that the program itself wrote."""


class ClaudeStream:
    """The parser of one process's output, with the state that later lines refer to."""

    def __init__(self, policy: RequestPolicy, secrets: Iterable[str]) -> None:
        self.state: AgentState = "starting"
        self.requests = ClaudeRequests(policy)
        self.prompt_uuid = ""
        self.model_orders: dict[str, tuple[str, str]] = {}
        self.failed = False
        self._told_state = False
        self._session: tuple[str, str] | None = None
        self._deltas = DeltaThrottle(secrets)
        self._typing: dict[str, str] = {}
        self._blocks: dict[str, tuple[str, int]] = {}
        self._accepted: set[str] = set()
        self._tasks = TaskList()
        self._counter = UsageCounter()
        self._live = LiveUsage()
        self._seen: dict[str, Fields] = {}
        self._reset_at: str | None = None
        self._readers: dict[str, Callable[[Fields], list[AgentEvent]]] = {
            "system": self._read_system,
            "assistant": self._read_assistant,
            "user": self._read_user,
            "stream_event": self._read_piece,
            "result": self._read_result,
            "command_lifecycle": self._read_lifecycle,
            "control_request": self._read_request,
            "control_cancel_request": self.requests.withdraw,
            "control_response": self._read_response,
            "conversation_reset": self._reset_usage,
            "rate_limit_event": self._read_limit,
            "keep_alive": lambda _: [],
        }

    def read(self, message: Fields) -> list[AgentEvent]:
        """Parse one decoded line into events. `UnknownLine` for an unknown type."""
        kind = get_text(message, "type")
        reader = self._readers.get(kind)
        if reader is None:
            raise UnknownLine(f"unknown type {kind!r}")
        return reader(message)

    def _read_system(self, message: Fields) -> list[AgentEvent]:
        match get_text(message, "subtype"):
            case "init":
                return self._read_init(message)
            case "session_state_changed":
                self._told_state = True
                return self._change_state(_STATES.get(get_text(message, "state")), get_text(message, "state"))
            case "api_retry":
                return [_make_retry(message)]
            case "task_started" | "task_progress" | "task_notification" as subtype:
                return [_make_task(subtype, message)]
            case other:
                return _read_system_notice(other, message)

    def _read_init(self, message: Fields) -> list[AgentEvent]:
        """Record a session once, and again when its identity changes, since `init` is printed for every turn."""
        running = self._change_state("running", inferred=True)
        session = (get_text(message, "session_id"), get_text(message, "model"))
        if session == self._session:
            return running
        self._session = session
        tools = message.get("tools")
        servers = [
            {"name": get_text(server, "name"), "status": get_text(server, "status")}
            for server in get_objects(message, "mcp_servers")
        ]
        session_event = make_event(
            "session",
            conversation_id=session[0],
            model=session[1],
            program="claude",
            version=get_text(message, "claude_code_version"),
            tools=len(tools) if isinstance(tools, list) else None,
            mcp=servers,
        )
        return [session_event, *running]

    def _change_state(self, state: AgentState | None, name: str = "", inferred: bool = False) -> list[AgentEvent]:
        """Make the `state` event of a change. Once the program reports its state, nothing is inferred any more."""
        if inferred and self._told_state:
            return []
        if state is None:
            return [make_event("state", state="unknown", detail=name)]
        if state == self.state:
            return []
        self.state = state
        return [make_event("state", state=state)]

    def _read_request(self, message: Fields) -> list[AgentEvent]:
        """Handle a request. While it waits for a person, the program's state is `waiting`."""
        events = self.requests.take(message)
        waits = any(agent_event.kind in ("question", "approval", "plan") for agent_event in events)
        return self._change_state("waiting", inferred=True) + events if waits else events

    def _read_response(self, message: Fields) -> list[AgentEvent]:
        """Handle a response to one of our requests. Only a refusal and the answer to a change of the model make an event."""
        response = get_object(message, "response")
        error_text = get_text(response, "error") if get_text(response, "subtype") == "error" else None
        if order := self.model_orders.pop(get_text(response, "request_id"), None):
            model = get_text(get_object(response, "response"), "model") or order[1]
            return [make_event("model", uuid=order[0], model=model, ok=error_text is None, detail=error_text)]
        if error_text is None:
            return []
        return [make_event("notice", level="warning", text=f"Claude Code refused a request: {error_text}")]

    def _reset_usage(self, _: Fields) -> list[AgentEvent]:
        self._seen = {}
        return [make_event("notice", level="info", text="The conversation was cleared.")]

    # Messages

    def _read_assistant(self, message: Fields) -> list[AgentEvent]:
        body, parent = get_object(message, "message"), get_text(message, "parent_tool_use_id") or None
        content = _read_blocks(body)
        if get_text(body, "model") == SYNTHETIC:
            return self._read_synthetic(message, "\n".join(get_text(block, "text") for block in content))
        if parent is None:
            usage = get_object(body, "usage")
            read = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
            self._counter.context_tokens = sum(get_count(usage, key) for key in read)
        usage_events = [self._make_live_usage()] if parent and self._live.read_line(body, parent) else []
        seconds = get_amount(message, "thinking_duration_ms") / 1000 or None
        return usage_events + [
            agent_event
            for block in content
            for agent_event in self._read_block(block, self._name_block(get_text(body, "id"), parent), parent, seconds)
        ]

    def _name_block(self, message_id: str, parent: str | None) -> str:
        """Build a block's name from its message and its number in it (a message arrives as one line per block)."""
        last_message_id, number = self._blocks.get(parent or "", ("", 0))
        number = number if last_message_id == message_id else 0
        self._blocks[parent or ""] = (message_id, number + 1)
        name = f"{message_id}:{number}"
        self._deltas.close(name)
        return name

    def _read_block(self, block: Fields, name: str, parent: str | None, seconds: float | None) -> list[AgentEvent]:
        match get_text(block, "type"):
            case "text":
                return [make_event("text", block=name, text=get_text(block, "text"), parent=parent)]
            case "thinking" | "redacted_thinking":
                thought = get_text(block, "thinking")
                return [make_event("thinking", block=name, text=thought, parent=parent, seconds=seconds)]
            case "tool_use" | "server_tool_use" | "mcp_tool_use":
                return self._read_call(
                    get_text(block, "id"), get_text(block, "name"), get_object(block, "input"), parent
                )
            case kind if kind.endswith("_tool_result"):
                return [_make_tool_result(block, parent)]
            case other:
                return [make_raw_event(json.dumps(block), f"unknown block {other!r}")]

    def _read_call(self, call: str, name: str, arguments: Fields, parent: str | None) -> list[AgentEvent]:
        """Make the events of a tool call. The plan of one that asks for its approval is kept, as the request may lack it."""
        if name == PLAN_TOOL:
            self.requests.written_plan = get_text(arguments, "plan")
        changes = self._tasks.take_call(call, name, arguments) if parent is None else []
        return [*make_call_events(call, name, arguments, parent), *changes]

    def _read_synthetic(self, message: Fields, message_text: str) -> list[AgentEvent]:
        if not (message.get("is_api_error_message") is True or get_text(message, "error")):
            return [make_event("notice", level="info", text=message_text)]
        failure = diagnose(f"{message_text} {get_text(message, 'api_error')}")
        if failure == "agent_failed":
            failure = diagnose(get_text(message, "error"))
        return [
            make_event(
                "error",
                failure=failure,
                message=message_text,
                retry_at=find_retry_time(failure, message_text, self._reset_at),
            )
        ]

    def _read_user(self, message: Fields) -> list[AgentEvent]:
        parent = get_text(message, "parent_tool_use_id") or None
        events: list[AgentEvent] = []
        for block in _read_blocks(get_object(message, "message")):
            if get_text(block, "type") == "tool_result":
                events += [_make_tool_result(block, parent), *self._tasks.take_result(block, message)]
            elif get_text(block, "type") == "text":
                events += self._make_input_events(message, get_text(block, "text"), parent)
        return events

    def _make_input_events(self, message: Fields, message_text: str, parent: str | None) -> list[AgentEvent]:
        """Convert text in the user's role: an echo of a message, a sub-agent's prompt, or the program's own remark."""
        uuid = get_text(message, "uuid")
        if message.get("isReplay") is True and not message_text.startswith("<local-command"):
            source = "prompt" if uuid == self.prompt_uuid else "echo"
            return [
                make_event("input", uuid=uuid, text=message_text, source=source),
                *self._make_receipt(uuid, "completed"),
            ]
        if parent is not None:
            return [make_event("input", text=message_text, source="prompt", parent=parent)]
        return [make_event("notice", level="info", text=message_text)]

    def _read_lifecycle(self, message: Fields) -> list[AgentEvent]:
        return self._make_receipt(get_text(message, "command_uuid"), get_text(message, "state"))

    def _make_receipt(self, uuid: str, state: str) -> list[AgentEvent]:
        receipt_state = _RECEIPTS.get(state)
        if receipt_state == "accepted":
            if uuid in self._accepted:
                return []
            self._accepted.add(uuid)
        elif uuid in self._accepted:
            return []
        return [
            make_event("receipt", uuid=uuid, state=receipt_state or "failed", detail=None if receipt_state else state)
        ]

    def _read_piece(self, message: Fields) -> list[AgentEvent]:
        """Handle a partial block. Start and stop identify the block of the deltas, and tell the usage."""
        inner, parent = get_object(message, "event"), get_text(message, "parent_tool_use_id") or None
        if get_text(inner, "type") == "message_start":
            self._typing[parent or ""] = get_text(get_object(inner, "message"), "id")
        if self._live.read_piece(inner, parent or ""):
            return [self._make_live_usage()]
        delta = get_object(inner, "delta")
        delta_keys = _DELTAS.get(get_text(delta, "type"))
        if get_text(inner, "type") != "content_block_delta" or delta_keys is None:
            return []
        name = f"{self._typing.get(parent or '', '')}:{get_count(inner, 'index')}"
        return self._deltas.add(name, delta_keys[0], get_text(delta, delta_keys[1]), parent)

    def _make_live_usage(self) -> AgentEvent:
        return self._counter.make_live_event(self._live.turns, self._live.sum_by_model())

    # End of turns

    def _read_result(self, message: Fields) -> list[AgentEvent]:
        self._count(message)
        final_text = _read_final_text(message)
        failure = self._classify_failure(message, final_text)
        self.failed = failure is not None
        ended = make_event(
            "result",
            ok=message.get("is_error") is not True,
            text=final_text,
            failure=failure,
            retry_at=find_retry_time(failure, final_text, self._reset_at),
            stop_reason=_read_stop_reason(message),
            turns=get_count(message, "num_turns"),
            seconds=get_amount(message, "duration_ms") / 1000,
        )
        return [self._counter.make_event(), ended, *self._change_state("idle", inferred=True)]

    def _classify_failure(self, message: Fields, final_text: str) -> str | None:
        """Classify a result that is an error, whatever its subtype. An interrupted turn is no failure."""
        if message.get("is_error") is not True or _read_stop_reason(message) == "interrupted":
            return None
        if "max_turns" in (get_text(message, "subtype") + get_text(message, "terminal_reason")):
            return "budget"
        if self._reset_at:
            return "usage_limit"
        return diagnose(
            f"{final_text} {get_text(message, 'api_error')}", get_count(message, "api_error_status") or None
        )

    def _count(self, message: Fields) -> None:
        counter = self._counter
        for model, usage in self._read_usage(message).items():
            counter.input_tokens += get_count(usage, "inputTokens")
            counter.output_tokens += get_count(usage, "outputTokens")
            counter.cache_read_tokens += get_count(usage, "cacheReadInputTokens")
            counter.cache_write_tokens += get_count(usage, "cacheCreationInputTokens")
            counter.cost_usd = (counter.cost_usd or 0.0) + get_amount(usage, "costUSD")
            window = get_count(get_object(get_object(message, "modelUsage"), model), "contextWindow")
            counter.context_window = window or counter.context_window
        counter.turns += get_count(message, "num_turns")
        self._live.settle()

    def _read_usage(self, message: Fields) -> dict[str, Fields]:
        """Read the usage by model since the last result, or for versions that lack it, the growth of the totals."""
        totals = {
            model: get_object(get_object(message, "modelUsage"), model) for model in get_object(message, "modelUsage")
        }
        since = message.get("model_usage_since_last_result")
        if isinstance(since, dict):
            return {model: get_object(since, model) for model in since}
        before, self._seen = self._seen, {**self._seen, **totals}
        return {model: _subtract_usage(before.get(model, {}), now) for model, now in totals.items()}

    def _read_limit(self, message: Fields) -> list[AgentEvent]:
        """Read the account's rate limit. Near its end is a warning, exceeded is the failure that parks a ticket."""
        info = get_object(message, "rate_limit_info")
        status, resets = get_text(info, "status"), get_amount(info, "resetsAt")
        name = get_text(info, "rateLimitType").replace("_", " ") or "usage"
        at = bound_reset_time(format_time(resets), name) if resets else None
        if status == "rejected" and get_text(info, "overageStatus") not in ("allowed", "allowed_warning"):
            self._reset_at = at
            return [make_event("error", failure="usage_limit", message=f"The {name} limit is reached.", retry_at=at)]
        self._reset_at = None
        if status == "allowed":
            return []
        return [make_event("notice", level="warning", text=f"Close to the {name} limit (reset {at or 'unknown'}).")]


def _read_blocks(body: Fields) -> list[Fields]:
    """Read the blocks of a message, whose content may be a plain string too."""
    content = body.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else get_objects(body, "content")


def _read_final_text(message: Fields) -> str:
    if _read_stop_reason(message) == "interrupted":
        return "Interrupted."
    errors = message.get("errors")
    error_texts = [error for error in errors if isinstance(error, str)] if isinstance(errors, list) else []
    return get_text(message, "result") or "\n".join(error_texts)


def _read_stop_reason(message: Fields) -> str | None:
    terminal = get_text(message, "terminal_reason")
    return "interrupted" if terminal.startswith("aborted") else terminal or get_text(message, "stop_reason") or None


def _subtract_usage(before: Fields, now: Fields) -> Fields:
    token_keys = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    grown: dict[str, float] = {key: max(0, get_count(now, key) - get_count(before, key)) for key in token_keys}
    grown["costUSD"] = max(0.0, get_amount(now, "costUSD") - get_amount(before, "costUSD"))
    return grown


def _make_tool_result(block: Fields, parent: str | None) -> AgentEvent:
    content = block.get("content")
    output = content if isinstance(content, str) else "\n".join(map(_format_part, get_objects(block, "content")))
    failed = block.get("is_error") is True
    code = output.removeprefix("Exit code ").split("\n", 1)[0] if output.startswith("Exit code ") else ""
    return make_event(
        "tool_result",
        call=get_text(block, "tool_use_id"),
        output=output,
        error=failed,
        exit_code=int(code) if failed and code.isdecimal() and len(code) < 4 else None,
        parent=parent,
    )


def _format_part(part: Fields) -> str:
    return get_text(part, "text") if get_text(part, "type") == "text" else f"[{get_text(part, 'type') or 'data'}]"


def _make_retry(message: Fields) -> AgentEvent:
    error_text = get_text(message, "error")
    status = get_count(message, "error_status") or None
    return make_event(
        "retry",
        attempt=get_count(message, "attempt"),
        limit=get_count(message, "max_retries"),
        delay_seconds=get_amount(message, "retry_delay_ms") / 1000,
        failure="network" if status is None and error_text == "unknown" else diagnose(error_text, status),
        message=f"{error_text} ({status})" if status else error_text,
    )


def _make_task(subtype: str, message: Fields) -> AgentEvent:
    state: Literal["started", "progress", "ended"] = "ended"
    if subtype != "task_notification":
        state = cast(Literal["started", "progress"], subtype.removeprefix("task_"))
    return make_event(
        "task",
        task=get_text(message, "task_id"),
        state=state,
        title=get_text(message, "description") or get_text(message, "summary"),
        kind={"local_agent": "agent", "local_bash": "command"}.get(get_text(message, "task_type")),
        status=get_text(message, "status") or None,
        parent=get_text(message, "tool_use_id") or None,
    )


def _read_system_notice(subtype: str, message: Fields) -> list[AgentEvent]:
    """Convert system lines that a person may want to read. Lines that repeat others make no event."""
    match subtype:
        case "status" if get_text(message, "status") == "compacting":
            return [make_event("notice", level="info", text="Compacting the conversation.")]
        case "compact_boundary":
            numbers = get_object(message, "compact_metadata")
            sizes = f"{get_count(numbers, 'pre_tokens')} to {get_count(numbers, 'post_tokens')} tokens"
            return [make_event("notice", level="info", text=f"Compacted the conversation from {sizes}.")]
        case "permission_denied":
            return [make_refusal(get_text(message, "tool_name"), _read_denied_command(get_text(message, "message")))]
        case "hook_response" if get_text(message, "outcome") not in ("success", ""):
            hook_output = get_text(message, "stderr") or get_text(message, "output")
            return [
                make_event(
                    "notice", level="warning", text=f"Hook {get_text(message, 'hook_name')} failed. {hook_output}"
                )
            ]
        case "notification":
            return [make_event("notice", level="info", text=get_text(message, "text"))]
        case other if other in SILENT_SUBTYPES:
            return []
        case other:
            raise UnknownLine(f"unknown system line {other!r}")


def _read_denied_command(sentence: str) -> str:
    """Read the command out of the program's sentence on a denied one, or return the whole sentence."""
    match = _DENIED.fullmatch(sentence)
    return match["command"] if match else sentence


SILENT_SUBTYPES = frozenset(
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
"""System lines without an event: they repeat other lines, or change nothing that a person sees."""
