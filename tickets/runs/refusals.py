"""Commands that a run's permissions refused: counted per run, and allowed for the project by a person."""

from __future__ import annotations

import re
import shlex
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Project, Run, Ticket, TicketStatus
from protocol import COMMAND_PATTERN, DENIED_COMMANDS
from tickets.lifecycle.transitions import transition
from tickets.shared import rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.inputs import is_control
from tickets.shared.lookup import get_ticket
from tickets.shared.rights import Act
from tickets.team import projects

MAX_REFUSED_COMMANDS = 20
"""Different commands that are kept of a run; the others are counted."""
MAX_REFUSED_CHARACTERS = 300
RESTARTS = {
    TicketStatus.IN_REVIEW: ("request_changes", "body"),
    TicketStatus.NEEDS_INPUT: ("answer", "body"),
    TicketStatus.BLOCKED: ("unblock", "note"),
}
"""The move that starts a ticket again, and the field of its input for the reason."""


def record_refusal(session: Session, run_id: int, command: str) -> None:
    """Count one refused command of a run."""
    earlier = session.scalars(select(Run.refusals).where(Run.id == run_id)).one()
    commands = list(dict.fromkeys([*earlier.get("commands", []), command[:MAX_REFUSED_CHARACTERS]]))
    refusals = {"count": earlier.get("count", 0) + 1, "commands": commands[:MAX_REFUSED_COMMANDS]}
    session.execute(update(Run).where(Run.id == run_id).values(refusals=refusals))


def list_allowable(refusals: dict[str, Any], denied_commands: list[str]) -> list[str]:
    """List the refused commands that a project could allow: single commands that are not denied."""
    plain = [_normalize(command) for command in refusals.get("commands", [])]
    denied = [prefix.split() for prefix in (*DENIED_COMMANDS, *denied_commands)]
    return [
        command
        for command in dict.fromkeys(plain)
        if command and not any(command.split()[: len(prefix)] == prefix for prefix in denied)
    ]


def _normalize(command: str) -> str:
    """Return the words of a single command, or an empty text for anything that only a shell understands."""
    if any(map(is_control, command)):  # such as a line break, which begins another command
        return ""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    text = " ".join(words)
    is_plain = re.fullmatch(COMMAND_PATTERN, text) and len(text) <= projects.MAX_COMMAND_CHARACTERS
    return text if is_plain and words == text.split() else ""


def allow_refused(session: Session, run: Run, actor: Actor) -> Ticket:
    """Add the refused commands of a run to its project's allowed ones, and start the ticket again.

    Raises `Forbidden`, and `ConflictError` where the project cannot allow any of them.
    """
    rights.require(actor, Act.CHANGE_PROJECTS)
    ticket = get_ticket(session, run.ticket_id)
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    commands = list_allowable(run.refusals, project.denied_commands) if project else []
    if project is None or not commands:
        raise ConflictError(
            "A project cannot allow any of these commands. Choose another policy in the profile (Team)."
        )
    _allow_commands(session, project, commands, actor)
    if ticket.status not in RESTARTS:
        return ticket
    move, field = RESTARTS[ticket.status]
    words = ", ".join(f"`{command}`" for command in commands)
    facts: dict[str, Any] = {field: f"These commands are allowed now: {words}. Continue with them."}
    return transition(session, ticket.id, move, actor, **facts)


def _allow_commands(session: Session, project: Project, commands: list[str], actor: Actor) -> None:
    """Add commands to the allowed ones of a project."""
    allowed = list(dict.fromkeys([*project.allowed_commands, *commands]))
    if len(allowed) > projects.MAX_COMMANDS:
        raise ConflictError(f"A project has at most {projects.MAX_COMMANDS} allowed commands. Remove some on its page.")
    change = projects.EditProject(version=project.version, allowed_commands=allowed)
    projects.edit_project(session, project.slug, change, actor)
