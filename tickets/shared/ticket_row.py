"""Plain values of tickets for lists, from which cards, status reasons and moves are computed.

A page displays a hundred tickets. ORM objects take several times as long to create and to read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import LandingState, Priority, Ticket, TicketStatus


class TicketRow(NamedTuple):
    """The columns of a `Ticket` that lists need, without long texts."""

    id: int
    identifier: str
    title: str
    status: TicketStatus
    priority: Priority
    assigned_to: str | None
    campaign_owner: str | None
    project_id: int | None
    phase: str | None
    resume: bool
    rank: int
    return_to: str | None
    not_before: datetime | None
    wake: dict[str, Any] | None
    wake_at: datetime | None
    wake_ticket_id: int | None
    block: dict[str, Any] | None
    landing: LandingState | None
    landing_plan: dict[str, Any] | None
    expected_check_in: datetime | None
    failure_reason: str | None
    attempts: int
    archived: bool
    version: int
    created: datetime
    updated: datetime
    moved: datetime


AnyTicket = Ticket | TicketRow
ROWS_BY_ID = select(*(getattr(Ticket, name) for name in TicketRow._fields)).where(in_ids(Ticket.id, "tickets"))


def load_rows(session: Session, ids: list[int]) -> dict[int, TicketRow]:
    """Load the tickets with these ids, by id."""
    return {row[0]: TicketRow._make(row) for row in fetch_rows(session, ROWS_BY_ID, tickets=ids).all()}
