"""The list that Claude Code keeps of its own work: one call with all of it, or a call for each task."""

from __future__ import annotations

import re

from workers.agents.checklists import make_checklist_event
from workers.contract.agent_events import AgentEvent
from workers.contract.fields import Fields, get_object, get_objects, get_text

_CREATED = re.compile(r"Task #(\S+) created")


class TaskList:
    """The tasks of one process by their number. A new task has its number once its call was answered."""

    def __init__(self) -> None:
        self._tasks: dict[str, tuple[str, str]] = {}
        self._creating: dict[str, str] = {}

    def take_call(self, call: str, name: str, arguments: Fields) -> list[AgentEvent]:
        """Follow a tool call, and make the event of a list that it changed."""
        match name:
            case "TodoWrite":
                rows = get_objects(arguments, "todos")
                return [make_checklist_event((get_text(row, "content"), get_text(row, "status")) for row in rows)]
            case "TaskCreate":
                self._creating[call] = get_text(arguments, "subject")
            case "TaskUpdate":
                return self._update(get_text(arguments, "taskId"), arguments)
        return []

    def take_result(self, block: Fields, line: Fields) -> list[AgentEvent]:
        """Add the task whose creation this result confirms."""
        subject = self._creating.pop(get_text(block, "tool_use_id"), None)
        if subject is None or block.get("is_error") is True:
            return []
        created = _CREATED.search(get_text(block, "content"))
        number = get_text(get_object(get_object(line, "tool_use_result"), "task"), "id") or (
            created[1] if created else ""
        )
        self._tasks[number] = (subject, "pending")
        return [make_checklist_event(self._tasks.values())]

    def _update(self, number: str, arguments: Fields) -> list[AgentEvent]:
        if number not in self._tasks:
            return []
        subject, state = self._tasks[number]
        self._tasks[number] = (get_text(arguments, "subject") or subject, get_text(arguments, "status") or state)
        if get_text(arguments, "status") == "deleted":
            del self._tasks[number]
        return [make_checklist_event(self._tasks.values())]
