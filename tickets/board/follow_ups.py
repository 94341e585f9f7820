"""Tickets past their expected check-in: one comment for each check-in, then a condition when nobody reacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import false, select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import ActorKind, Ticket, TicketComment, format_clock, now
from settings import Settings
from tickets.conversation import timeline
from tickets.loops.conditions import Condition, Observation
from tickets.operations.incidents import FOLLOW_UP_PREFIX
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.canary import IS_ORDINARY_TICKET

from . import status_reason

SWEEP = Actor(ActorKind.SERVICE, "follow-up-sweep")
MAX_TICKETS = 200
ADVICE = "Look at the work, then set a new check-in or remove it."
Reminders = Mapping[tuple[int, str], datetime]
"""When a ticket was commented on for a check-in, by its id and the end of the comment."""


def list_overdue(session: Session, settings: Settings) -> list[Ticket]:
    """List the tickets whose check-in is overdue by the rule of the board, the oldest check-in first."""
    overdue = status_reason.build_causes(settings.retry_limit)["overdue"]
    query = select(Ticket).where(*overdue, Ticket.archived == false(), IS_ORDINARY_TICKET)
    return list(session.scalars(query.order_by(Ticket.expected_check_in, Ticket.id).limit(MAX_TICKETS)))


def load_reminders(session: Session, tickets: Sequence[Ticket]) -> Reminders:
    """Load the comments of the sweep on these tickets."""
    query = select(TicketComment.ticket_id, TicketComment.body, TicketComment.created).where(
        TicketComment.ticket_id.in_([ticket.id for ticket in tickets]),
        TicketComment.author == SWEEP.name,
        TicketComment.author_kind == SWEEP.kind,
    )
    return {(ticket_id, body[body.rfind("(") :]): created for ticket_id, body, created in fetch_rows(session, query)}


def find_reminder(reminders: Reminders, ticket: Ticket) -> datetime | None:
    """Find when the sweep commented on the ticket's present check-in."""
    return reminders.get((ticket.id, _format_check_in(ticket)))


def remind(session: Session, ticket: Ticket) -> bool:
    """Comment on an overdue ticket. False when it has been closed or given another check-in since it was read."""
    ticket_now = lookup.get_ticket(session, str(ticket.id))
    check_in = ticket_now.expected_check_in
    if ticket_now.closed or check_in is None or check_in != ticket.expected_check_in:
        return False
    minutes = int((now() - check_in).total_seconds() // 60)
    body = f"[follow-up] {minutes} min past expected check-in {_format_check_in(ticket_now)}"
    timeline.add_comment(session, ticket.id, timeline.NewComment(body=body), SWEEP)
    return True


def _format_check_in(ticket: Ticket) -> str:
    """Format a check-in as ISO 8601 in UTC, in brackets."""
    assert ticket.expected_check_in is not None  # of an overdue ticket
    return f"({ticket.expected_check_in.astimezone(UTC).isoformat().replace('+00:00', 'Z')})"


def find_ignored(tickets: Sequence[Ticket], reminders: Reminders, settings: Settings) -> Observation:
    """Find the overdue tickets on which the sweep commented so long ago that somebody should have reacted."""
    cutoff = now() - timedelta(minutes=settings.operator.escalation_minutes)
    conditions = [
        Condition(
            f"{FOLLOW_UP_PREFIX}{ticket.id}",
            f"{ticket.identifier} missed its check-in of {format_clock(ticket.expected_check_in)}",
            ADVICE,
            ticket_id=ticket.id,
            since=reminder,
        )
        for ticket in tickets
        if ticket.expected_check_in and (reminder := find_reminder(reminders, ticket)) and reminder < cutoff
    ]
    return Observation(FOLLOW_UP_PREFIX, conditions, is_complete=len(tickets) < MAX_TICKETS)
