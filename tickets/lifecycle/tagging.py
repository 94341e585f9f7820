"""Tags of a new ticket: those that its creator chose, or else those of the rules."""

from __future__ import annotations

from sqlalchemy.orm import Session

from models import Project, Ticket, TicketTag
from tickets.shared import tags
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY
from tickets.shared.inputs import NewTicket


def tag_new_ticket(
    session: Session, ticket: Ticket, body: NewTicket, project: Project | None, actor: Actor
) -> list[str]:
    """Add the tags of a new ticket, and return those that the rules chose. An empty list in the body is a choice too."""
    if "tags" in body.model_fields_set or ticket.assigned_to == CANARY:
        tags.require_usable(session, body.tags, actor)
        _add_tags(session, ticket, set(body.tags))
        return []
    chosen_tags = tags.choose_tags(ticket.title, ticket.description, project.ticket_template if project else "")
    _add_tags(session, ticket, set(chosen_tags))
    return chosen_tags


def _add_tags(session: Session, ticket: Ticket, names: set[str]) -> None:
    session.add_all(TicketTag(ticket_id=ticket.id, tag=name) for name in names)
