"""The items of a Codex conversation: messages, thoughts, commands, patches and tool calls."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from workers.agents.checklists import make_checklist_event
from workers.agents.tool_calls import make_call_events
from workers.contract.agent_events import AgentEvent, get_first_line, make_event
from workers.contract.fields import Fields, UnknownLine, get_amount, get_object, get_objects, get_text

_TASKS = {"started": "started", "completed": "ended", "interrupted": "ended", "interacted": "progress"}
_SILENT_TYPES = frozenset({"userMessage", "hookPrompt", "functionCallOutput", "sleep"})
"""Items without an event here. The caller handles a user's message, as only it knows the sender."""


def make_start_events(item: Fields, parent: str | None) -> list[AgentEvent]:
    """Make the events of an item that begins. Only calls have events before they end."""
    kind = get_text(item, "type")
    if kind == "collabAgentToolCall":
        return [_make_sub_agent(item, "started", parent)]
    call = _read_call(kind, item)
    return make_call_events(get_text(item, "id"), *call, parent) if call else []


def make_plan_event(message: Fields) -> AgentEvent:
    """Make the event of the checklist that the program calls its plan."""
    return make_checklist_event(
        (get_text(row, "step"), get_text(row, "status")) for row in get_objects(message, "plan")
    )


def make_update_events(item: Fields) -> list[AgentEvent]:
    """Make the events of an item that has changed before its end. Only a checklist has any."""
    return [_make_notice("todoList", item)] if get_text(item, "type") == "todoList" else []


def make_end_events(item: Fields, parent: str | None) -> list[AgentEvent]:
    """Make the events of an item that is complete. `UnknownLine` for an unknown type."""
    kind, name = get_text(item, "type"), get_text(item, "id")
    if _read_call(kind, item):
        return [_make_result(kind, item, parent)]
    match kind:
        case "agentMessage" | "plan":
            return [make_event("text", block=name, text=get_text(item, "text"), parent=parent)]
        case "reasoning":
            return [make_event("thinking", block=name, text=_read_reasoning(item), parent=parent)]
        case "collabAgentToolCall":
            return [_make_sub_agent(item, "ended", parent)]
        case "subAgentActivity":
            state = _TASKS.get(get_text(item, "kind"), "progress")
            path = get_text(item, "agentPath")
            return [_make_task(get_text(item, "agentThreadId"), state, path, parent)]
        case other if other in _SILENT_TYPES:
            return []
        case other:
            return [_make_notice(other, item)]


def _make_notice(kind: str, item: Fields) -> AgentEvent:
    """Make the event of an item that only informs: a notice, or the agent's checklist."""
    match kind:
        case "error":
            return make_event("notice", level="warning", text=get_text(item, "message"))
        case "contextCompaction":
            return make_event("notice", level="info", text="Compacted the conversation.")
        case "enteredReviewMode" | "exitedReviewMode":
            return make_event("notice", level="info", text=get_text(item, "review"))
        case "todoList":
            rows = get_objects(item, "items")
            return make_checklist_event(
                (get_text(row, "text"), "completed" if row.get("completed") is True else "pending") for row in rows
            )
        case other:
            raise UnknownLine(f"unknown item {other!r}")


def list_agent_threads(item: Fields) -> list[str]:
    """List the threads of the sub-agents that a collaboration call addresses."""
    threads = item.get("receiverThreadIds")
    thread_ids = [thread for thread in threads if isinstance(thread, str)] if isinstance(threads, list) else []
    return [*thread_ids, get_text(item, "agentThreadId")] if get_text(item, "agentThreadId") else thread_ids


def read_message_text(item: Fields) -> str:
    """Read the text of a user's message, whose content may be a plain string too."""
    if text := get_text(item, "content"):
        return text
    return "\n".join(get_text(part, "text") for part in get_objects(item, "content"))


def _read_call(kind: str, item: Fields) -> tuple[str, Mapping[str, Any]] | None:
    """Read name and input of an item that is a tool call."""
    match kind:
        case "commandExecution":
            return "shell", {"command": _strip_shell(get_text(item, "command"))}
        case "fileChange":
            changes = get_objects(item, "changes")
            return "apply_patch", {
                "path": ", ".join(get_text(change, "path") for change in changes),
                "changes": changes,
            }
        case "mcpToolCall":
            return f"mcp__{get_text(item, 'server')}__{get_text(item, 'tool')}", get_object(item, "arguments")
        case "dynamicToolCall":
            return get_text(item, "tool"), get_object(item, "arguments")
        case "webSearch":
            return "web_search", {"query": get_text(item, "query")}
        case "imageView" | "imageGeneration":
            return kind, {"path": get_text(item, "path")}
    return None


def _strip_shell(command: str) -> str:
    """Remove the shell that Codex puts around the model's command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return words[2] if len(words) == 3 and words[1] in ("-c", "-lc") else command


def _make_result(kind: str, item: Fields, parent: str | None) -> AgentEvent:
    code = item.get("exitCode")
    return make_event(
        "tool_result",
        call=get_text(item, "id"),
        output=_read_output(kind, item),
        error=get_text(item, "status") in ("failed", "declined") or bool(code),
        exit_code=code if isinstance(code, int) else None,
        seconds=get_amount(item, "durationMs") / 1000 if "durationMs" in item else None,
        parent=parent,
    )


def _read_output(kind: str, item: Fields) -> str:
    if kind == "commandExecution":
        return get_text(item, "aggregatedOutput")
    if kind == "fileChange":
        return f"{get_text(item, 'status')}: {len(get_objects(item, 'changes'))} file(s)"
    result = get_object(item, "result")
    parts = get_objects(result, "content") or get_objects(item, "contentItems")
    output = "\n".join(get_text(part, "text") or f"[{get_text(part, 'type') or 'data'}]" for part in parts)
    return output or get_text(get_object(item, "error"), "message")


def _read_reasoning(item: Fields) -> str:
    """Read the summary of the model's reasoning, or its full text when there is none."""
    for key in ("summary", "content"):
        value = item.get(key)
        if isinstance(value, list) and value:
            return "\n\n".join(part for part in value if isinstance(part, str))
    return get_text(item, "text")


def _make_sub_agent(item: Fields, state: str, parent: str | None) -> AgentEvent:
    """Make the task event of a call to another agent, which continues after the call has ended."""
    begins = state == "started" and get_text(item, "tool") == "spawnAgent"
    task_state = state if begins or get_text(item, "tool") == "closeAgent" else "progress"
    threads = list_agent_threads(item)
    task = threads[0] if threads else get_text(item, "id")
    return _make_task(
        task, task_state, get_text(item, "prompt") or get_text(item, "tool"), parent or get_text(item, "id")
    )


def _make_task(task: str, state: str, title: str, parent: str | None) -> AgentEvent:
    return make_event("task", task=task, state=state, title=get_first_line(title), kind="agent", parent=parent)
