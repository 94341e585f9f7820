"""The first steps, shown in place of the overview and of the board while there is no ticket."""

from __future__ import annotations

from typing import Any

from database import Session
from tickets.board import columns
from tickets.team import agents, projects


def load_first_steps(session: Session) -> dict[str, Any] | None:
    """Load the number of projects and the runnable agents, or return None when there is a ticket."""
    if not columns.is_board_empty(session):
        return None
    return {"projects": len(projects.list_projects(session)), "agents": sorted(agents.list_runnable(session))}
