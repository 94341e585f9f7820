"""The event of an agent's checklist, the same whatever its program calls it."""

from __future__ import annotations

from collections.abc import Iterable

from protocol import ChecklistState
from workers.contract.agent_events import AgentEvent, make_event

_STATES: dict[str, ChecklistState] = {
    "in_progress": "in_progress",
    "inProgress": "in_progress",
    "completed": "done",
}


def make_checklist_event(rows: Iterable[tuple[str, str]]) -> AgentEvent:
    """Make the event of the whole list from the text of each item and its state in the program's own words."""
    items = [{"text": text, "state": _STATES.get(state, "pending")} for text, state in rows]
    return make_event("checklist", items=items)
