"""The orchestrator's inbox: one item per question, submission, failed landing and proposal of triage, settled with the move."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import InboxItem, InboxState, Ticket, TicketStatus, now
from tickets.workflow import landing

KIND_BY_STATUS = {TicketStatus.NEEDS_INPUT: "question", TicketStatus.IN_REVIEW: "review"}
LANDING = "landing"
TRIAGE = "triage"
OPEN_STATES = (InboxState.PENDING, InboxState.DELIVERED)


def update_inbox(session: Session, ticket: Ticket, before: TicketStatus, move: str, run: int | None) -> None:
    """Settle the items of the state that the ticket leaves, and add an item for the state that it enters."""
    if before in KIND_BY_STATUS:
        _settle_items(session, ticket.id, (KIND_BY_STATUS[before], LANDING), move)
    elif before is TicketStatus.INBOX:
        _settle_items(session, ticket.id, (TRIAGE,), move)
    if ticket.status in KIND_BY_STATUS and not landing.is_pending(ticket):
        kind = LANDING if ticket.landing else KIND_BY_STATUS[ticket.status]
        session.add(InboxItem(kind=kind, ticket_id=ticket.id, run_id=run, title=f"{ticket.identifier}: {ticket.title}"))
        session.flush()


def _settle_items(session: Session, ticket_id: int, kinds: tuple[str, ...], move: str) -> None:
    waiting = (InboxItem.ticket_id == ticket_id, InboxItem.kind.in_(kinds), InboxItem.state.in_(OPEN_STATES))
    session.execute(
        update(InboxItem).where(*waiting).values(state=InboxState.ACTED, action={"move": move}, settled=now())
    )
