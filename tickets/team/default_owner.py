"""The owner that is offered for a new ticket."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from models import Ticket

from . import agents, team_status

RECENT_TICKETS = 100
"""Number of newest tickets among which a person's last one is looked for."""
NEWEST_TICKETS = select(Ticket.id).order_by(Ticket.id.desc()).limit(RECENT_TICKETS).subquery()
LAST_OWNER = (
    select(Ticket.assigned_to)
    .where(
        Ticket.id.in_(select(NEWEST_TICKETS.c.id)),
        Ticket.requester == bindparam("requester"),
        Ticket.assigned_to.is_not(None),
    )
    .order_by(Ticket.id.desc())
    .limit(1)
)


def find_default_owner(session: Session, requester: str) -> str | None:
    """Find the owner of the last ticket of its requester, or else the only agent that can be started."""
    last = session.scalar(LAST_OWNER, {"requester": requester})
    if last in {member.name for member in agents.list_members(session)}:
        return last
    runnable = agents.list_runnable(session)
    startable = [
        member.name for member in team_status.list_team(session) if member.name in runnable and not member.fault
    ]
    return startable[0] if len(startable) == 1 else None
