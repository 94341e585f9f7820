"""Codex's requests to its client: commands and patches to approve, questions to answer, forms of MCP servers."""

from __future__ import annotations

from typing import Any

from protocol import Permissions
from workers.agents.tool_calls import COORDINATION, format_call_title
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, UnknownLine, format_line, get_object, get_objects, get_text

_TOOLS = {
    "item/commandExecution/requestApproval": "shell",
    "item/fileChange/requestApproval": "apply_patch",
    "item/permissions/requestApproval": "permissions",
    "mcpServer/elicitation/request": "mcp",
}
_QUESTION = "item/tool/requestUserInput"
_UNKNOWN_METHOD = -32601


class CodexRequests:
    """The requests that wait for a person, and the run's policy that answers the others."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions
        self._waiting: dict[str, Fields] = {}
        self.replies: list[bytes] = []

    def take(self, message: Fields) -> list[AgentEvent]:
        """The event of a request; one that is answered at once leaves a reply instead."""
        method, params, number = get_text(message, "method"), get_object(message, "params"), str(message.get("id"))
        if method == _QUESTION:
            self._waiting[number] = message
            return [make_event("question", request=number, questions=_build_questions(params))]
        if method not in _TOOLS:
            error = {"code": _UNKNOWN_METHOD, "message": "unsupported"}
            self.replies.append(format_line({"id": message.get("id"), "error": error}))
            raise UnknownLine(f"unsupported request {method!r}")
        if get_text(params, "serverName") == COORDINATION or self._permissions == "bypass":
            self.replies.append(_format_reply(message, _build_decision(message, True, "once")))
            return []
        if self._permissions == "ask":
            self._waiting[number] = message
            return [_make_approval(number, method, params)]
        self.replies.append(_format_reply(message, _build_decision(message, False, "once")))
        notice = f"{_TOOLS[method]} was denied by the run's permissions: {format_call_title(_TOOLS[method], params)}"
        return [make_event("notice", level="warning", text=notice)]

    def withdraw(self, params: Fields) -> list[AgentEvent]:
        """The event of a request that was settled without our answer."""
        number = str(params.get("requestId"))
        return [make_event("withdrawn", request=number)] if self._waiting.pop(number, None) else []

    def answer(self, answer: Fields) -> list[bytes]:
        """The line that carries a person's answer; nothing for a request that no longer waits."""
        message = self._waiting.pop(get_text(answer, "request"), None)
        if message is None:
            return []
        allowed = get_text(answer, "behavior") == "allow"
        if get_text(message, "method") == _QUESTION:
            answers = get_object(answer, "answers") if allowed else {}
            return [_format_reply(message, {"answers": _match_choices(get_object(message, "params"), answers)})]
        return [_format_reply(message, _build_decision(message, allowed, get_text(answer, "scope")))]


def _make_approval(number: str, method: str, params: Fields) -> AgentEvent:
    meta = get_object(params, "_meta")
    details = {
        "command": get_text(params, "command"),
        "cwd": get_text(params, "cwd"),
        "text": get_text(params, "message"),
        **get_object(meta, "tool_params"),
    }
    tool_input = {key: value for key, value in details.items() if value}
    tool = get_text(meta, "tool_name") or _TOOLS[method]
    reason = get_text(params, "reason") or get_text(params, "message")
    return make_event(
        "approval",
        request=number,
        tool=tool,
        input=tool_input,
        title=format_call_title(tool, tool_input),
        reason=reason or None,
    )


def _build_decision(message: Fields, allowed: bool, scope: str) -> dict[str, Any]:
    """The reply that allows or refuses; `scope` "run" allows the like for the rest of the conversation."""
    method, params = get_text(message, "method"), get_object(message, "params")
    if method == "mcpServer/elicitation/request":
        return {"action": "accept", "content": {}} if allowed else {"action": "decline", "content": None}
    if method == "item/permissions/requestApproval":
        granted = dict(get_object(params, "permissions")) if allowed else {}
        return {"permissions": granted, "scope": "session" if scope == "run" else "turn"}
    if not allowed:
        return {"decision": "decline"}
    return {"decision": "acceptForSession" if scope == "run" else "accept"}


def _build_questions(params: Fields) -> list[dict[str, Any]]:
    return [
        {
            "text": get_text(question, "question"),
            "header": get_text(question, "header"),
            "choices": [
                {"label": get_text(option, "label"), "detail": get_text(option, "description")}
                for option in get_objects(question, "options")
            ],
            "multiple": False,
        }
        for question in get_objects(params, "questions")
    ]


def _match_choices(params: Fields, answers: Fields) -> dict[str, Any]:
    """Codex knows its questions by id, a person by their text."""
    choices: dict[str, Any] = {}
    for question in get_objects(params, "questions"):
        choice = answers.get(get_text(question, "question"))
        if choice is not None:
            listed = choice if isinstance(choice, list) else [choice]
            choices[get_text(question, "id")] = {"answers": [str(one) for one in listed]}
    return choices


def _format_reply(message: Fields, result: Fields) -> bytes:
    return format_line({"id": message.get("id"), "result": result})
