"""Detection of the start and end of a screen's turns from hooks, transcript and state. The caller passes the time."""

from __future__ import annotations

from functools import partial

from workers.agents.error_classifier import Wordings, classify_error
from workers.agents.reset_times import find_retry_time
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import get_objects, get_text

from .hooks import Hook
from .screen import ScreenState

DRAIN_SECONDS = 2.0
"""How long the last text of a turn may take to reach the transcript after the hook of its end."""
ABANDONED_SECONDS = 2.0
"""How long a screen that was busy may be idle in an open turn before it counts as interrupted at its keyboard."""
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
        """Make the events of a hook that begins or ends a turn."""
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
                retry_at = find_retry_time(failure, error_text)
                return self._close(make_event("result", ok=False, text=error_text, failure=failure, retry_at=retry_at))
            case _:
                return []

    def transcript(self, agent_event: AgentEvent) -> list[AgentEvent]:
        """Pass on an event of the transcript. A turn's end counts once, whichever source reports it."""
        if agent_event.kind == "result":
            return self._close(agent_event)
        if agent_event.kind == "text" and not agent_event.payload.get("parent"):
            self._said = str(agent_event.payload.get("text", "")).strip()
        return [agent_event]

    def tick(self, screen_state: ScreenState, now: float) -> list[AgentEvent]:
        """End a turn whose last text has arrived, or which was abandoned."""
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
        """Return the state to report. None before the first prompt is accepted."""
        if not self.begun:
            return None
        if asks:
            return "waiting"
        return "running" if screen_state == "idle" and self.open else screen_state

    def _close(self, ended: AgentEvent) -> list[AgentEvent]:
        was_open, self.open, self._ending = self.open, False, None
        return [ended] if was_open else []

    def _follow_tasks(self, hook: Hook) -> list[AgentEvent]:
        """Make the events of background tasks at the end of a turn. Open ones keep the conversation open."""
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
