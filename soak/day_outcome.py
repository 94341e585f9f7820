"""The end of each scenario of a simulated day, in the words of its file, and its differences from what the file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import ActorKind, InboxItem, Run, Ticket, TicketComment, TicketEvent

from .day_alerts import ReceivedAlert
from .scenarios import Progress

PARTS = ("status", "runs", "moves", "alerts", "inbox", "comments")
LOOP_KINDS = (ActorKind.SERVICE, ActorKind.TRIAGE, ActorKind.REVIEWER)


@dataclass(frozen=True, slots=True)
class Outcome:
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
    outcome = _load_outcome(session, progress.ticket_id, received)
    return [*progress.problems] + [
        f"{name}: {part} {getattr(outcome, part)}, expected {getattr(expected, part)}"
        for part in PARTS
        if getattr(outcome, part) != getattr(expected, part)
    ]


def _load_outcome(session: Session, ticket_id: int, received: Sequence[ReceivedAlert]) -> Outcome:
    ticket = session.get_one(Ticket, ticket_id)
    return Outcome(
        status=ticket.status.value,
        runs=session.scalar(select(func.count()).select_from(Run).where(Run.ticket_id == ticket_id)) or 0,
        moves=_list_moves(session, ticket_id),
        alerts=[alert.describe(ticket.title) for alert in received if alert.identifier == ticket.identifier],
        inbox=_list_items(session, ticket_id),
        comments=_list_comments(session, ticket_id),
    )


def _list_moves(session: Session, ticket_id: int) -> list[str]:
    moved = select(TicketEvent).where(TicketEvent.ticket_id == ticket_id, TicketEvent.event_type == "ticket_moved")
    return [f"{event.actor} {event.payload_json['move']}" for event in session.scalars(moved.order_by(TicketEvent.id))]


def _list_items(session: Session, ticket_id: int) -> list[str]:
    items = select(InboxItem).where(InboxItem.ticket_id == ticket_id).order_by(InboxItem.id)
    return [describe_item(item) for item in session.scalars(items)]


def describe_item(item: InboxItem) -> str:
    """Describe an item by its kind, its state, and its action or why it failed."""
    action = item.action or {}
    ending = action.get("move") or action.get("type") or item.failure or ""
    return f"{item.kind} {item.state.value} {ending}".strip()


def _list_comments(session: Session, ticket_id: int) -> list[str]:
    """List the first lines of the comments of loops and reviewers."""
    written = (TicketComment.ticket_id == ticket_id, TicketComment.author_kind.in_(LOOP_KINDS))
    bodies = session.scalars(select(TicketComment.body).where(*written).order_by(TicketComment.id))
    return [body.partition("\n")[0] for body in bodies]
