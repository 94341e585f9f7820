"""Claude Code's requests to its host: may a tool be used, and which answer does a person choose."""

from __future__ import annotations

from typing import Any

from workers.agents.tool_calls import call_title
from workers.contract.agent_events import Event, event
from workers.contract.fields import Fields, UnknownLine, rows, table, text, write_line
from workers.contract.spec import Permissions

QUESTION_TOOL = "AskUserQuestion"
_REFUSAL = "The permissions of this run do not allow this. Go on without it, or ask in your report."


class Requests:
    """The requests that wait for an answer, and the run's policy that answers what no person needs to see."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions
        self._waiting: dict[str, Fields] = {}
        self.replies: list[bytes] = []

    def take(self, message: Fields) -> list[Event]:
        """The event of a `control_request`; a request that is answered at once leaves a reply instead."""
        number, request = text(message, "request_id"), table(message, "request")
        if text(request, "subtype") != "can_use_tool":
            error = {"subtype": "error", "request_id": number, "error": "unsupported request"}
            self.replies.append(write_line({"type": "control_response", "response": error}))
            raise UnknownLine(f"unsupported request: {text(request, 'subtype')}")
        if text(request, "tool_name") == QUESTION_TOOL:
            self._waiting[number] = request
            return [event("question", request=number, questions=_questions(request))]
        if self._permissions == "ask" or request.get("requires_user_interaction") is True:
            self._waiting[number] = request
            return [_approval(number, request)]
        return self._decide(number, request)

    def withdraw(self, message: Fields) -> list[Event]:
        """The event of a `control_cancel_request`."""
        number = text(message, "request_id")
        self._waiting.pop(number, None)
        return [event("withdrawn", request=number)]

    def answer(self, answer: Fields) -> list[bytes]:
        """The line that carries a person's answer; nothing for a request that no longer waits."""
        number = text(answer, "request")
        request = self._waiting.pop(number, None)
        if request is None:
            return []
        if text(answer, "behavior") != "allow":
            return [_reply(number, _denial(text(answer, "message") or "Refused."))]
        allowed: dict[str, Any] = {"behavior": "allow", "updatedInput": dict(table(request, "input"))}
        if text(request, "tool_name") == QUESTION_TOOL:
            allowed["updatedInput"]["answers"] = _chosen(table(answer, "answers"))
        if text(answer, "scope") == "run":
            suggested = rows(request, "permission_suggestions")
            allowed["updatedPermissions"] = [{**rule, "destination": "session"} for rule in suggested]
        return [_reply(number, allowed)]

    def _decide(self, number: str, request: Fields) -> list[Event]:
        """Answer by policy: `bypass` allows what the program still asks for, the others deny it."""
        given = table(request, "input")
        if self._permissions == "bypass":
            self.replies.append(_reply(number, {"behavior": "allow", "updatedInput": dict(given)}))
            return []
        self.replies.append(_reply(number, _denial(_REFUSAL)))
        name = text(request, "tool_name")
        refused = f"{name} was denied by the run's permissions: {call_title(name, given)}"
        return [event("notice", level="warning", text=refused)]


def _approval(number: str, request: Fields) -> Event:
    name, given = text(request, "tool_name"), table(request, "input")
    reason = text(request, "decision_reason") or text(request, "description")
    return event(
        "approval",
        request=number,
        tool=name,
        input=given,
        title=call_title(name, given),
        reason=reason or None,
    )


def _questions(request: Fields) -> list[dict[str, Any]]:
    return [
        {
            "text": text(question, "question"),
            "header": text(question, "header"),
            "choices": [
                {"label": text(option, "label"), "detail": text(option, "description")}
                for option in rows(question, "options")
            ],
            "multiple": question.get("multiSelect") is True,
        }
        for question in rows(table(request, "input"), "questions")
    ]


def _chosen(answers: Fields) -> dict[str, str]:
    """Answers by question text; several choices of one question are joined as the program expects."""
    return {
        question: ", ".join(map(str, choice)) if isinstance(choice, list) else str(choice)
        for question, choice in answers.items()
    }


def _denial(message: str) -> dict[str, Any]:
    return {"behavior": "deny", "message": message, "interrupt": False}


def _reply(number: str, response: Fields) -> bytes:
    body = {"subtype": "success", "request_id": number, "response": response}
    return write_line({"type": "control_response", "response": body})
