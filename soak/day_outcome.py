"""The end of each scenario of a simulated day, in the words of its file, and its differences from what the file says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import ActorKind, InboxItem, Run, Ticket, TicketComment, TicketEvent

from .day_alerts import ReceivedAlert, find_identifier
from .scenarios import Progress

COMMIT = re.compile(r"\bcommit [0-9a-f]{10}\b")
LOOP_KINDS = (ActorKind.SERVICE, ActorKind.TRIAGE, ActorKind.REVIEWER)


@dataclass(frozen=True, slots=True)
class ScenarioEnd:
    """The end of one scenario, see `scenarios.Expectation`."""

    status: str
    runs: int
    moves: list[str]
    alerts: list[str]
    inbox: list[str]
    comments: list[str]


def list_differences(session: Session, progress: Progress, received: Sequence[ReceivedAlert]) -> list[str]:
    """List the differences between a scenario's end and its file."""
    name, expected = progress.scenario.name, progress.scenario.expect
    if progress.ticket_id is None:
        return [*progress.problems, f"{name}: the ticket was not created"]
    end = _load_end(session, progress.ticket_id, received)
    return [*progress.problems] + [
        f"{name}: {part} {getattr(end, part)}, expected {getattr(expected, part)}"
        for part in (column.name for column in fields(ScenarioEnd))
        if getattr(end, part) != getattr(expected, part)
    ]


def _load_end(session: Session, ticket_id: int, received: Sequence[ReceivedAlert]) -> ScenarioEnd:
    ticket = session.get_one(Ticket, ticket_id)
    return ScenarioEnd(
        status=ticket.status.value,
        runs=session.scalar(select(func.count()).select_from(Run).where(Run.ticket_id == ticket_id)) or 0,
        moves=_list_moves(session, ticket_id),
        alerts=[alert.describe(ticket.title) for alert in received if alert.identifier == ticket.identifier],
        inbox=_list_items(session, ticket),
        comments=_list_comments(session, ticket_id),
    )


def _list_moves(session: Session, ticket_id: int) -> list[str]:
    moved = select(TicketEvent).where(TicketEvent.ticket_id == ticket_id, TicketEvent.event_type == "ticket_moved")
    return [f"{event.actor} {event.payload_json['move']}" for event in session.scalars(moved.order_by(TicketEvent.id))]


def _list_items(session: Session, ticket: Ticket) -> list[str]:
    items = session.scalars(select(InboxItem).order_by(InboxItem.id)).all()
    return [describe_item(item) for item in items if is_about(item, ticket)]


def is_about(item: InboxItem, ticket: Ticket) -> bool:
    """Return whether an item is about a ticket: its own, or the one that its title names."""
    return item.ticket_id == ticket.id or (item.ticket_id is None and find_identifier(item.title) == ticket.identifier)


def describe_item(item: InboxItem) -> str:
    """Describe an item by its kind, its state, and its action or why it failed."""
    action = item.action or {}
    ending = action.get("move") or action.get("type") or item.failure or ""
    return f"{item.kind} {item.state.value} {ending}".strip()


def _list_comments(session: Session, ticket_id: int) -> list[str]:
    """List the first lines of the comments of loops and reviewers, without the commits that they name."""
    written = (TicketComment.ticket_id == ticket_id, TicketComment.author_kind.in_(LOOP_KINDS))
    bodies = session.scalars(select(TicketComment.body).where(*written).order_by(TicketComment.id))
    return [COMMIT.sub("commit", body.partition("\n")[0]) for body in bodies]
