"""Where the turns of a screen begin and end, out of its hooks, its transcript and its state. No clock of its own."""

from __future__ import annotations

from workers.agents.error_classifier import diagnose, reset_time
from workers.contract.agent_events import Event, event
from workers.contract.fields import rows, text

from .hooks import Hook
from .screen import Known

DRAIN_SECONDS = 2.0
"""How long a turn's last words may take from the hook that ends it to the transcript."""
ABANDONED_SECONDS = 2.0
"""A screen that was busy and is idle for so long without having ended its turn was interrupted at its keyboard."""
NEVER_BUSY_SECONDS = 6.0


class Turns:
    """`begun`: whether the first prompt is in, or none was given; `open`: whether a turn goes on."""

    def __init__(self, begun: bool) -> None:
        self.begun = begun
        self.open = False
        self._was_busy = False
        self._idle_since: float | None = None
        self._ending: tuple[str, float] | None = None
        self._said = ""
        self._tasks: set[str] = set()

    def hook(self, hook: Hook, now: float) -> list[Event]:
        """The events of a hook that begins or ends a turn."""
        match hook.name:
            case "UserPromptSubmit":
                self.begun = self.open = True
                self._was_busy, self._idle_since, self._ending, self._said = False, None, None, ""
                return []
            case "Stop":
                self._ending = (text(hook.fields, "last_assistant_message").strip(), now + DRAIN_SECONDS)
                return self._follow_tasks(hook)
            case "StopFailure":
                said = text(hook.fields, "last_assistant_message") or text(hook.fields, "error")
                failure = diagnose(said)
                failure = diagnose(text(hook.fields, "error")) if failure == "agent_failed" else failure
                retry_at = reset_time(said) if failure == "usage_limit" else None
                return self._close(event("result", ok=False, text=said, failure=failure, retry_at=retry_at))
            case _:
                return []

    def transcript(self, told: Event) -> list[Event]:
        """An event of the transcript; a turn's end counts once, whichever way it is told."""
        if told.kind == "result":
            return self._close(told)
        if told.kind == "text" and not told.payload.get("parent"):
            self._said = str(told.payload.get("text", "")).strip()
        return [told]

    def tick(self, known: Known, now: float) -> list[Event]:
        """The end of a turn whose last words have arrived, or which was given up."""
        if self._ending and (self._said == self._ending[0] or now > self._ending[1]):
            return self._close(event("result", ok=True, text=self._ending[0], stop_reason="completed"))
        self._was_busy = self._was_busy or known in ("running", "waiting")
        if known != "idle" or not self.open or self._ending:
            self._idle_since = None
            return []
        self._idle_since = self._idle_since or now
        patience = ABANDONED_SECONDS if self._was_busy else NEVER_BUSY_SECONDS
        if now - self._idle_since < patience:
            return []
        return self._close(event("result", ok=False, text="Interrupted.", stop_reason="interrupted"))

    def state(self, known: Known, asks: bool) -> Known | None:
        """The state to tell; None before the first prompt is in."""
        if not self.begun:
            return None
        if asks:
            return "waiting"
        return "running" if known == "idle" and self.open else known

    def _close(self, ended: Event) -> list[Event]:
        was_open, self.open, self._ending = self.open, False, None
        return [ended] if was_open else []

    def _follow_tasks(self, hook: Hook) -> list[Event]:
        """What still runs in the background at the end of a turn; it keeps the conversation from being over."""
        known = {text(row, "id") or text(row, "task_id"): row for row in rows(hook.fields, "background_tasks")}
        ended = [event("task", task=task, state="ended", title=task) for task in sorted(self._tasks - known.keys())]
        begun = [
            event("task", task=task, state="started", title=text(row, "description") or task)
            for task, row in known.items()
            if task not in self._tasks
        ]
        self._tasks = set(known)
        return ended + begun
