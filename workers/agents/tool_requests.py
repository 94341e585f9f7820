"""Requests to use a tool and questions to a person, as Claude Code's stream and the hooks of screens put them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, UnknownLine, format_line, get_object, get_objects, get_text

from .permissions import RequestPolicy
from .tool_calls import format_call_title, make_refusal

QUESTION_TOOL = "AskUserQuestion"
NO_PLAN_TEXT = "The agent asks to begin without having written a plan."
PLAN_TOOL = "ExitPlanMode"
SHELL_TOOL = "Bash"
_PLANNING = "A plan is wanted first: nothing may be changed until a person has approved it."
_REFUSAL = "The permissions of this run do not allow this. Go on without it, or ask in your report."


PlanExit = tuple[Mapping[str, Any], ...]
"""Permission updates that end plan mode. A run that plans has some, any other none."""


class ClaudeRequests:
    """The pending requests, and the run's policy that answers the others without a person."""

    def __init__(self, policy: RequestPolicy, plan_exit: PlanExit = ()) -> None:
        self._policy = policy
        self.plan_exit = plan_exit
        self.written_plan = ""
        self._waiting: dict[str, Fields] = {}
        self.replies: list[bytes] = []

    def take(self, message: Fields) -> list[AgentEvent]:
        """Convert a `control_request` to an event. A request that is answered at once leaves a reply instead."""
        number, request = get_text(message, "request_id"), get_object(message, "request")
        if get_text(request, "subtype") != "can_use_tool":
            error = {"subtype": "error", "request_id": number, "error": "unsupported request"}
            self.replies.append(format_line({"type": "control_response", "response": error}))
            raise UnknownLine(f"unsupported request: {get_text(request, 'subtype')}")
        if get_text(request, "tool_name") == QUESTION_TOOL:
            self._waiting[number] = request
            return [make_event("question", request=number, questions=_build_questions(request))]
        if get_text(request, "tool_name") == PLAN_TOOL:
            self._waiting[number] = request
            return [make_event("plan", request=number, text=self._read_plan(request))]
        if self.plan_exit:
            return self._refuse_while_planning(number, request)
        decision = self._policy.decide(_read_command(request))
        if decision == "ask" or request.get("requires_user_interaction") is True:
            self._waiting[number] = request
            return [_make_approval(number, request)]
        return self._reply(number, request, decision == "allow")

    def withdraw(self, message: Fields) -> list[AgentEvent]:
        """Convert a `control_cancel_request` to an event."""
        number = get_text(message, "request_id")
        self._waiting.pop(number, None)
        return [make_event("withdrawn", request=number)]

    def answer(self, answer: Fields) -> list[bytes]:
        """Return the line with a person's answer. Empty for a request that is no longer pending."""
        number = get_text(answer, "request")
        request = self._waiting.pop(number, None)
        if request is None:
            return []
        if get_text(answer, "behavior") != "allow":
            return [_format_reply(number, _build_denial(get_text(answer, "message") or "Refused."))]
        allowed: dict[str, Any] = {"behavior": "allow", "updatedInput": dict(get_object(request, "input"))}
        if get_text(request, "tool_name") == QUESTION_TOOL:
            allowed["updatedInput"]["answers"] = _join_choices(get_object(answer, "answers"))
        if get_text(request, "tool_name") == PLAN_TOOL:
            allowed["updatedInput"]["plan"] = get_text(answer, "message") or self._read_plan(request)
            allowed["updatedPermissions"], self.plan_exit = [*self.plan_exit], ()
        if get_text(answer, "scope") == "run":
            suggested = get_objects(request, "permission_suggestions")
            allowed["updatedPermissions"] = [{**rule, "destination": "session"} for rule in suggested]
        return [_format_reply(number, allowed)]

    def _read_plan(self, request: Fields) -> str:
        """Read the plan from the request, which has that of the plan file, else from the call itself."""
        return get_text(get_object(request, "input"), "plan") or self.written_plan or NO_PLAN_TEXT

    def _reply(self, number: str, request: Fields, is_allowed: bool) -> list[AgentEvent]:
        """Answer by the run's permissions, without a person."""
        tool_input = get_object(request, "input")
        if is_allowed:
            self.replies.append(_format_reply(number, {"behavior": "allow", "updatedInput": dict(tool_input)}))
            return []
        self.replies.append(_format_reply(number, _build_denial(_REFUSAL)))
        return [make_refusal(get_text(request, "tool_name"), _read_command(request), tool_input)]

    def _refuse_while_planning(self, number: str, request: Fields) -> list[AgentEvent]:
        self.replies.append(_format_reply(number, _build_denial(_PLANNING)))
        name = get_text(request, "tool_name")
        title = format_call_title(name, get_object(request, "input"))
        return [make_event("notice", level="warning", text=f"{name} was refused while a plan is made: {title}")]


def _read_command(request: Fields) -> str:
    """Read the command of a request for the shell. Empty for other tools."""
    is_shell = get_text(request, "tool_name") == SHELL_TOOL
    return get_text(get_object(request, "input"), "command") if is_shell else ""


def _make_approval(number: str, request: Fields) -> AgentEvent:
    name, tool_input = get_text(request, "tool_name"), get_object(request, "input")
    reason = get_text(request, "decision_reason") or get_text(request, "description")
    return make_event(
        "approval",
        request=number,
        tool=name,
        input=tool_input,
        title=format_call_title(name, tool_input),
        reason=reason or None,
    )


def _build_questions(request: Fields) -> list[dict[str, Any]]:
    return [
        {
            "text": get_text(question, "question"),
            "header": get_text(question, "header"),
            "choices": [
                {"label": get_text(option, "label"), "detail": get_text(option, "description")}
                for option in get_objects(question, "options")
            ],
            "multiple": question.get("multiSelect") is True,
        }
        for question in get_objects(get_object(request, "input"), "questions")
    ]


def _join_choices(answers: Fields) -> dict[str, str]:
    """Join several choices of one question as the program expects. Answers are keyed by question text."""
    return {
        question: ", ".join(map(str, choice)) if isinstance(choice, list) else str(choice)
        for question, choice in answers.items()
    }


def _build_denial(message: str) -> dict[str, Any]:
    return {"behavior": "deny", "message": message, "interrupt": False}


def _format_reply(number: str, response: Fields) -> bytes:
    body = {"subtype": "success", "request_id": number, "response": response}
    return format_line({"type": "control_response", "response": body})
