"""The items of a Codex conversation: messages, thoughts, commands, patches and tool calls."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from workers.agents.tool_calls import call_events
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, UnknownLine, amount, rows, table, text

_TASKS = {"started": "started", "completed": "ended", "interrupted": "ended", "interacted": "progress"}
_SILENT = frozenset({"userMessage", "hookPrompt", "functionCallOutput", "sleep"})
"""Items without an event of their own here; a user's message is told by its reader, which knows whose it is."""


def started(item: Fields, parent: str | None) -> list[Event]:
    """The events of an item that begins: only calls are told before they end."""
    kind = text(item, "type")
    if kind == "collabAgentToolCall":
        return [_sub_agent(item, "started", parent)]
    call = _call(kind, item)
    return call_events(text(item, "id"), *call, parent) if call else []


def completed(item: Fields, parent: str | None) -> list[Event]:
    """The events of an item that is complete; raises `UnknownLine` for a type that is not known."""
    kind, name = text(item, "type"), text(item, "id")
    if _call(kind, item):
        return [_result(kind, item, parent)]
    match kind:
        case "agentMessage" | "plan":
            return [event("text", block=name, text=text(item, "text"), parent=parent)]
        case "reasoning":
            return [event("thinking", block=name, text=_thought(item), parent=parent)]
        case "collabAgentToolCall":
            return [_sub_agent(item, "ended", parent)]
        case "subAgentActivity":
            state = _TASKS.get(text(item, "kind"), "progress")
            path = text(item, "agentPath")
            return [_task(text(item, "agentThreadId"), state, path, parent)]
        case other if other in _SILENT:
            return []
        case other:
            return [_notice(other, item)]


def _notice(kind: str, item: Fields) -> Event:
    """An item that only informs."""
    match kind:
        case "error":
            return event("notice", level="warning", text=text(item, "message"))
        case "contextCompaction":
            return event("notice", level="info", text="Compacted the conversation.")
        case "enteredReviewMode" | "exitedReviewMode":
            return event("notice", level="info", text=text(item, "review"))
        case "todoList":
            marks = [("x" if row.get("completed") is True else " ", text(row, "text")) for row in rows(item, "items")]
            return event("notice", level="info", text="\n".join(f"[{mark}] {step}" for mark, step in marks))
        case other:
            raise UnknownLine(f"unknown item {other!r}")


def agent_threads(item: Fields) -> list[str]:
    """The threads of the sub-agents that a collaboration call speaks to."""
    threads = item.get("receiverThreadIds")
    named = [thread for thread in threads if isinstance(thread, str)] if isinstance(threads, list) else []
    return [*named, text(item, "agentThreadId")] if text(item, "agentThreadId") else named


def spoken(item: Fields) -> str:
    """The words of a user's message."""
    return "\n".join(text(part, "text") for part in rows(item, "content"))


def _call(kind: str, item: Fields) -> tuple[str, Mapping[str, Any]] | None:
    """Name and input of an item that is a tool call."""
    match kind:
        case "commandExecution":
            return "shell", {"command": _typed(text(item, "command"))}
        case "fileChange":
            changes = rows(item, "changes")
            return "apply_patch", {"path": ", ".join(text(change, "path") for change in changes), "changes": changes}
        case "mcpToolCall":
            return f"mcp__{text(item, 'server')}__{text(item, 'tool')}", table(item, "arguments")
        case "dynamicToolCall":
            return text(item, "tool"), table(item, "arguments")
        case "webSearch":
            return "web_search", {"query": text(item, "query")}
        case "imageView" | "imageGeneration":
            return kind, {"path": text(item, "path")}
    return None


def _typed(command: str) -> str:
    """The command as the model wrote it, without the shell that Codex puts around it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return words[2] if len(words) == 3 and words[1] in ("-c", "-lc") else command


def _result(kind: str, item: Fields, parent: str | None) -> Event:
    code = item.get("exitCode")
    return event(
        "tool_result",
        call=text(item, "id"),
        output=_output(kind, item),
        error=text(item, "status") in ("failed", "declined") or bool(code),
        exit_code=code if isinstance(code, int) else None,
        seconds=amount(item, "durationMs") / 1000 if "durationMs" in item else None,
        parent=parent,
    )


def _output(kind: str, item: Fields) -> str:
    if kind == "commandExecution":
        return text(item, "aggregatedOutput")
    if kind == "fileChange":
        return f"{text(item, 'status')}: {len(rows(item, 'changes'))} file(s)"
    result = table(item, "result")
    parts = rows(result, "content") or rows(item, "contentItems")
    said = "\n".join(text(part, "text") or f"[{text(part, 'type') or 'data'}]" for part in parts)
    return said or text(table(item, "error"), "message")


def _thought(item: Fields) -> str:
    """What the model showed of its reasoning; its own words where there is no summary."""
    for key in ("summary", "content"):
        value = item.get(key)
        if isinstance(value, list) and value:
            return "\n\n".join(part for part in value if isinstance(part, str))
    return text(item, "text")


def _sub_agent(item: Fields, state: str, parent: str | None) -> Event:
    """A call to another agent; the agent itself goes on after the call has ended."""
    begins = state == "started" and text(item, "tool") == "spawnAgent"
    shown = state if begins or text(item, "tool") == "closeAgent" else "progress"
    threads = agent_threads(item)
    task = threads[0] if threads else text(item, "id")
    return _task(task, shown, text(item, "prompt") or text(item, "tool"), parent or text(item, "id"))


def _task(task: str, state: str, title: str, parent: str | None) -> Event:
    return event("task", task=task, state=state, title=title[:200], kind="agent", parent=parent)
