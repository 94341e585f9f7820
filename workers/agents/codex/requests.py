"""Codex's requests to its client: commands and patches to approve, questions to answer, forms of MCP servers."""

from __future__ import annotations

from typing import Any

from workers.agents.tool_calls import COORDINATION, call_title
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, UnknownLine, rows, table, text, write_line
from workers.contract.spec import Permissions

_TOOLS = {
    "item/commandExecution/requestApproval": "shell",
    "item/fileChange/requestApproval": "apply_patch",
    "item/permissions/requestApproval": "permissions",
    "mcpServer/elicitation/request": "mcp",
}
_QUESTION = "item/tool/requestUserInput"
_UNKNOWN_METHOD = -32601


class Requests:
    """The requests that wait for a person, and the run's policy that answers the others."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions
        self._waiting: dict[str, Fields] = {}
        self.replies: list[bytes] = []

    def take(self, message: Fields) -> list[Event]:
        """The event of a request; one that is answered at once leaves a reply instead."""
        method, params, number = text(message, "method"), table(message, "params"), str(message.get("id"))
        if method == _QUESTION:
            self._waiting[number] = message
            return [event("question", request=number, questions=_questions(params))]
        if method not in _TOOLS:
            error = {"code": _UNKNOWN_METHOD, "message": "unsupported"}
            self.replies.append(write_line({"id": message.get("id"), "error": error}))
            raise UnknownLine(f"unsupported request {method!r}")
        if text(params, "serverName") == COORDINATION or self._permissions == "bypass":
            self.replies.append(_reply(message, _decision(message, True, "once")))
            return []
        if self._permissions == "ask":
            self._waiting[number] = message
            return [_approval(number, method, params)]
        self.replies.append(_reply(message, _decision(message, False, "once")))
        refused = f"{_TOOLS[method]} was denied by the run's permissions: {call_title(_TOOLS[method], params)}"
        return [event("notice", level="warning", text=refused)]

    def withdraw(self, params: Fields) -> list[Event]:
        """The event of a request that was settled without our answer."""
        number = str(params.get("requestId"))
        return [event("withdrawn", request=number)] if self._waiting.pop(number, None) else []

    def answer(self, answer: Fields) -> list[bytes]:
        """The line that carries a person's answer; nothing for a request that no longer waits."""
        message = self._waiting.pop(text(answer, "request"), None)
        if message is None:
            return []
        allowed = text(answer, "behavior") == "allow"
        if text(message, "method") == _QUESTION:
            chosen = table(answer, "answers") if allowed else {}
            return [_reply(message, {"answers": _chosen(table(message, "params"), chosen)})]
        return [_reply(message, _decision(message, allowed, text(answer, "scope")))]


def _approval(number: str, method: str, params: Fields) -> Event:
    meta = table(params, "_meta")
    given = {
        "command": text(params, "command"),
        "cwd": text(params, "cwd"),
        "text": text(params, "message"),
        **table(meta, "tool_params"),
    }
    shown = {key: value for key, value in given.items() if value}
    tool = text(meta, "tool_name") or _TOOLS[method]
    reason = text(params, "reason") or text(params, "message")
    return event(
        "approval", request=number, tool=tool, input=shown, title=call_title(tool, shown), reason=reason or None
    )


def _decision(message: Fields, allowed: bool, scope: str) -> dict[str, Any]:
    """The reply that allows or refuses; `scope` "run" allows the like for the rest of the conversation."""
    method, params = text(message, "method"), table(message, "params")
    if method == "mcpServer/elicitation/request":
        return {"action": "accept", "content": {}} if allowed else {"action": "decline", "content": None}
    if method == "item/permissions/requestApproval":
        granted = dict(table(params, "permissions")) if allowed else {}
        return {"permissions": granted, "scope": "session" if scope == "run" else "turn"}
    if not allowed:
        return {"decision": "decline"}
    return {"decision": "acceptForSession" if scope == "run" else "accept"}


def _questions(params: Fields) -> list[dict[str, Any]]:
    return [
        {
            "text": text(question, "question"),
            "header": text(question, "header"),
            "choices": [
                {"label": text(option, "label"), "detail": text(option, "description")}
                for option in rows(question, "options")
            ],
            "multiple": False,
        }
        for question in rows(params, "questions")
    ]


def _chosen(params: Fields, answers: Fields) -> dict[str, Any]:
    """Codex knows its questions by id, a person by their text."""
    chosen: dict[str, Any] = {}
    for question in rows(params, "questions"):
        choice = answers.get(text(question, "question"))
        if choice is not None:
            listed = choice if isinstance(choice, list) else [choice]
            chosen[text(question, "id")] = {"answers": [str(one) for one in listed]}
    return chosen


def _reply(message: Fields, result: Fields) -> bytes:
    return write_line({"id": message.get("id"), "result": result})
