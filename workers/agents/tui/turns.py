"""Where the turns of a screen begin and end, out of its hooks, its transcript and its state. No clock of its own."""

from __future__ import annotations

from functools import partial

from workers.agents.error_classifier import Wordings, classify_error, parse_reset_time
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import get_objects, get_text

from .hooks import Hook
from .screen import ScreenState

DRAIN_SECONDS = 2.0
"""How long a turn's last words may take from the hook that ends it to the transcript."""
ABANDONED_SECONDS = 2.0
"""A screen that was busy and is idle for so long without having ended its turn was interrupted at its keyboard."""
NEVER_BUSY_SECONDS = 6.0


class Turns:
    """`begun`: whether the first prompt is in, or none was given; `open`: whether a turn goes on.

    `wordings`: how the program words its failures.
    """

    def __init__(self, has_begun: bool, wordings: Wordings) -> None:
        self.begun = has_begun
        self.open = False
        self._diagnose = partial(classify_error, wordings=wordings)
        self._was_busy = False
        self._idle_since: float | None = None
        self._ending: tuple[str, float] | None = None
        self._said = ""
        self._tasks: set[str] = set()

    def hook(self, hook: Hook, now: float) -> list[AgentEvent]:
        """The events of a hook that begins or ends a turn."""
        match hook.name:
            case "UserPromptSubmit":
                self.begun = self.open = True
                self._was_busy, self._idle_since, self._ending, self._said = False, None, None, ""
                return []
            case "Stop":
                self._ending = (get_text(hook.fields, "last_assistant_message").strip(), now + DRAIN_SECONDS)
                return self._follow_tasks(hook)
            case "StopFailure":
                error_text = get_text(hook.fields, "last_assistant_message") or get_text(hook.fields, "error")
                failure = self._diagnose(error_text)
                failure = self._diagnose(get_text(hook.fields, "error")) if failure == "agent_failed" else failure
                retry_at = parse_reset_time(error_text) if failure == "usage_limit" else None
                return self._close(make_event("result", ok=False, text=error_text, failure=failure, retry_at=retry_at))
            case _:
                return []

    def transcript(self, agent_event: AgentEvent) -> list[AgentEvent]:
        """An event of the transcript; a turn's end counts once, whichever way it is told."""
        if agent_event.kind == "result":
            return self._close(agent_event)
        if agent_event.kind == "text" and not agent_event.payload.get("parent"):
            self._said = str(agent_event.payload.get("text", "")).strip()
        return [agent_event]

    def tick(self, screen_state: ScreenState, now: float) -> list[AgentEvent]:
        """The end of a turn whose last words have arrived, or which was given up."""
        if self._ending and (self._said == self._ending[0] or now > self._ending[1]):
            return self._close(make_event("result", ok=True, text=self._ending[0], stop_reason="completed"))
        self._was_busy = self._was_busy or screen_state in ("running", "waiting")
        if screen_state != "idle" or not self.open or self._ending:
            self._idle_since = None
            return []
        self._idle_since = self._idle_since or now
        limit = ABANDONED_SECONDS if self._was_busy else NEVER_BUSY_SECONDS
        if now - self._idle_since < limit:
            return []
        return self._close(make_event("result", ok=False, text="Interrupted.", stop_reason="interrupted"))

    def state(self, screen_state: ScreenState, asks: bool) -> ScreenState | None:
        """The state to tell; None before the first prompt is in."""
        if not self.begun:
            return None
        if asks:
            return "waiting"
        return "running" if screen_state == "idle" and self.open else screen_state

    def _close(self, ended: AgentEvent) -> list[AgentEvent]:
        was_open, self.open, self._ending = self.open, False, None
        return [ended] if was_open else []

    def _follow_tasks(self, hook: Hook) -> list[AgentEvent]:
        """What still runs in the background at the end of a turn; it keeps the conversation from being over."""
        tasks = {
            get_text(row, "id") or get_text(row, "task_id"): row for row in get_objects(hook.fields, "background_tasks")
        }
        ends = [make_event("task", task=task, state="ended", title=task) for task in sorted(self._tasks - tasks.keys())]
        starts = [
            make_event("task", task=task, state="started", title=get_text(row, "description") or task)
            for task, row in tasks.items()
            if task not in self._tasks
        ]
        self._tasks = set(tasks)
        return ends + starts
