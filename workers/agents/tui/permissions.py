"""Permission requests, held by a hook until the run's policy or a person has decided."""

from __future__ import annotations

from typing import Any

from workers.agents.permissions import build_request_policy
from workers.agents.tool_requests import ClaudeRequests, PlanExit
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, get_object, get_text, parse_object
from workers.contract.spec import RunSpec

from .hooks import Hook, Hooks
from .screen import ScreenState

ANSWERED_SECONDS = 1.0
"""A dialog that has been gone from the screen for this long was answered there."""
_DECISION = ("behavior", "message", "updatedInput", "updatedPermissions")


class PermissionRequests:
    """The permission requests of one run (`hides_dialog`, `plan_exit`: see `workers.agents.tui.screen.Screen`)."""

    def __init__(self, spec: RunSpec, hooks: Hooks, hides_dialog: bool, plan_exit: PlanExit = ()) -> None:
        self._hooks = hooks
        self._leaves = spec.attended and hides_dialog
        self._basic = hides_dialog
        self._requests = ClaudeRequests(build_request_policy(spec), plan_exit)
        self._waiting: dict[str, None] = {}
        self._inputs: dict[str, Fields] = {}
        self._is_seen = False
        self._unseen_since: float | None = None

    @property
    def asks(self) -> bool:
        """True while a person has to decide something."""
        return bool(self._waiting)

    def take(self, hook: Hook) -> list[AgentEvent]:
        """Handle a new request: decide by policy, ask a person, or leave it to the program's own dialog."""
        if self._leaves:
            self._hooks.answer(hook.request, None)
            return [make_event("notice", level="info", text="A decision is asked for on the screen.")]
        tool_input = self._inputs[hook.request] = get_object(hook.fields, "tool_input")
        request = {**hook.fields, "subtype": "can_use_tool", "input": tool_input}
        events = self._requests.take({"request_id": hook.request, "request": request})
        if any(agent_event.kind in ("approval", "question", "plan") for agent_event in events):
            self._waiting[hook.request] = None
        replies, self._requests.replies = self._requests.replies, []
        self._reply(replies)
        return events

    def answer(self, answer: Fields) -> None:
        """Apply a person's decision on the ticket. One that comes too late changes nothing."""
        self._forget(get_text(answer, "request"))
        self._reply(self._requests.answer(answer))

    def withdraw(self) -> list[AgentEvent]:
        """Withdraw all pending requests, after the turn was interrupted or answered at the screen."""
        return [agent_event for request in list(self._waiting) for agent_event in self._withdraw(request)]

    def look(self, screen_state: ScreenState, is_turn_open: bool, now: float) -> list[AgentEvent]:
        """Withdraw what was answered at the screen: its dialog is gone though no answer was sent from here.

        On a busy machine a dialog may be late, and the one of a further request comes after the first is answered. So
        only a dialog that was there can be gone, unless the turn is over.
        """
        self._is_seen = self._is_seen or (screen_state == "waiting" and bool(self._waiting))
        is_over = screen_state == "idle" and not is_turn_open
        if self._basic or not self._waiting or screen_state in ("waiting", "unknown") or not (self._is_seen or is_over):
            self._unseen_since = None
            return []
        self._unseen_since = now if self._unseen_since is None else self._unseen_since
        if now - self._unseen_since < ANSWERED_SECONDS:
            return []
        return self.withdraw() if is_over else self._withdraw(next(iter(self._waiting)))

    def _withdraw(self, request: str) -> list[AgentEvent]:
        self._forget(request)
        self._inputs.pop(request, None)
        self._hooks.answer(request, None)
        return self._requests.withdraw({"request_id": request})

    def _forget(self, request: str) -> None:
        """Forget a request that is settled. The dialog of the next one is still to come."""
        self._waiting.pop(request, None)
        self._is_seen, self._unseen_since = False, None

    def _reply(self, replies: list[bytes]) -> None:
        """Pass decisions on to the waiting hooks."""
        for line in replies:
            response = get_object(parse_object(line), "response")
            request = get_text(response, "request_id")
            decision = self._build_decision(get_object(response, "response"), self._inputs.pop(request, {}))
            self._hooks.answer(request, decision)

    def _build_decision(self, response: Fields, tool_input: Fields) -> dict[str, Any]:
        """Build the hook's decision. The dialog of a command outside the sandbox stays if its input comes back."""
        keys = _DECISION[:2] if self._basic else _DECISION
        decision = {key: response[key] for key in keys if key in response}
        if decision.get("updatedInput") == tool_input:
            del decision["updatedInput"]
        return decision
