"""Codex's requests to its client: approvals of commands and patches, questions, forms of MCP servers."""

from __future__ import annotations

import shlex
from typing import Any

from workers.agents.permissions import RequestPolicy
from workers.agents.tool_calls import COORDINATION, format_call_title, make_refusal
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, UnknownLine, format_line, get_object, get_objects, get_text

_TOOLS = {
    "item/commandExecution/requestApproval": "shell",
    "item/fileChange/requestApproval": "apply_patch",
    "item/permissions/requestApproval": "permissions",
    "mcpServer/elicitation/request": "mcp",
}
SHELLS = frozenset(f"{folder}/{name}" for folder in ("/bin", "/usr/bin") for name in ("bash", "sh", "zsh", "dash"))
"""The shells whose command is read from their arguments. Any other program is judged by its own name."""
_QUESTION = "item/tool/requestUserInput"
_UNKNOWN_METHOD = -32601


class CodexRequests:
    """The pending requests, and the run's policy that answers the others without a person."""

    def __init__(self, policy: RequestPolicy) -> None:
        self._policy = policy
        self._waiting: dict[str, Fields] = {}
        self.replies: list[bytes] = []

    def take(self, message: Fields) -> list[AgentEvent]:
        """Convert a request to an event. One that is answered at once leaves a reply instead."""
        method, params, number = get_text(message, "method"), get_object(message, "params"), str(message.get("id"))
        if method == _QUESTION:
            self._waiting[number] = message
            return [make_event("question", request=number, questions=_build_questions(params))]
        if method not in _TOOLS:
            error = {"code": _UNKNOWN_METHOD, "message": "unsupported"}
            self.replies.append(format_line({"id": message.get("id"), "error": error}))
            raise UnknownLine(f"unsupported request {method!r}")
        command = _read_command(params)
        is_own = get_text(params, "serverName") == COORDINATION
        decision = "allow" if is_own else self._policy.decide(command)
        if decision == "ask":
            self._waiting[number] = message
            return [_make_approval(number, method, params)]
        self.replies.append(_format_reply(message, _build_decision(message, decision == "allow", "once")))
        return [] if decision == "allow" else [make_refusal(_TOOLS[method], command, params)]

    def withdraw(self, params: Fields) -> list[AgentEvent]:
        """Make the event of a request that was settled without our answer."""
        number = str(params.get("requestId"))
        return [make_event("withdrawn", request=number)] if self._waiting.pop(number, None) else []

    def answer(self, answer: Fields) -> list[bytes]:
        """Return the line with a person's answer. Empty for a request that is no longer pending."""
        message = self._waiting.pop(get_text(answer, "request"), None)
        if message is None:
            return []
        allowed = get_text(answer, "behavior") == "allow"
        if get_text(message, "method") == _QUESTION:
            answers = get_object(answer, "answers") if allowed else {}
            return [_format_reply(message, {"answers": _match_choices(get_object(message, "params"), answers)})]
        return [_format_reply(message, _build_decision(message, allowed, get_text(answer, "scope")))]


def _read_command(params: Fields) -> str:
    """Read the command without the shell that runs it, where the request is for one.

    The request's `commandActions` are a summary, which leaves parts of a pipeline out.
    """
    command = get_text(params, "command")
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    is_shell = len(words) == 3 and words[0] in SHELLS and words[1] in ("-c", "-lc")
    return words[2] if is_shell else command


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
    """Build the reply that allows or declines. `scope` "run" allows the same for the rest of the conversation."""
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
    """Map answers by question text, as people give them, to question ids, as Codex expects."""
    choices: dict[str, Any] = {}
    for question in get_objects(params, "questions"):
        choice = answers.get(get_text(question, "question"))
        if choice is not None:
            listed = choice if isinstance(choice, list) else [choice]
            choices[get_text(question, "id")] = {"answers": [str(one) for one in listed]}
    return choices


def _format_reply(message: Fields, result: Fields) -> bytes:
    return format_line({"id": message.get("id"), "result": result})
