"""The ticket list for programs: filters in SQL, newest change first, in pages."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus
from tickets.shared.inputs import Body, Level, Line, Name, TagName
from tickets.shared.paging import NEWEST

from .columns import Filters, select_archived


class TicketQuery(Body):
    """Filters of the ticket list, where omitted fields do not narrow it. Archived tickets are listed separately."""

    status: TicketStatus | None = None
    assigned_to: Name | None = None
    tag: TagName | None = None
    project: Name | None = None
    priority: Level | None = None
    q: Line | None = Field(None, description="words of the title, or an identifier")
    archived: bool = False
    limit: int = Field(50, ge=1, le=200)
    cursor: Line | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        filters = Filters(
            self.project or "", self.assigned_to or "", self.tag or "", self.priority or "", self.q or ""
        ).conditions()
        filters += select_archived(self.archived)
        if self.status is not None:
            filters.append(Ticket.status == self.status)
        if self.cursor is not None:
            filters.append(NEWEST.build_cursor_condition(self.cursor))
        return filters


@dataclass(frozen=True, slots=True)
class QueryResult:
    """A page of tickets, and the cursor of the next page."""

    tickets: list[Ticket]
    next: str | None


def find_tickets(session: Session, query: TicketQuery) -> QueryResult:
    """Find the tickets of a query, with one statement for any filters."""
    statement = select(Ticket).where(*query.conditions()).order_by(*NEWEST.by()).limit(query.limit + 1)
    rows = list(session.scalars(statement))
    tickets = rows[: query.limit]
    return QueryResult(tickets, NEWEST.place(tickets[-1]) if len(rows) > query.limit else None)
