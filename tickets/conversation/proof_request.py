"""A person's request that the agent proves one acceptance item."""

from __future__ import annotations

from sqlalchemy.orm import Session

from models import Ticket, TicketStatus
from tickets.lifecycle import acceptance
from tickets.lifecycle.acceptance import Item
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError

from . import message_routing
from .message_routing import IncomingMessage, RoutedMessage

REQUEST = (
    "Prove acceptance item {place}: “{text}”. Run what shows that it is met, or name the line that does, then report again"
    " with a claim for this item that has a `proof`: the project's check, the command that you ran, or the line of the"
    " change."
)


def ask_for_proof(session: Session, ticket: Ticket, item: Item, actor: Actor, caller: str) -> RoutedMessage:
    """Send the request to the live run, or return the ticket with it as a change request. Raises `ConflictError`."""
    if ticket.status is TicketStatus.NEEDS_INPUT:
        raise ConflictError(f"{ticket.identifier} waits for an answer. Answer its question first.", field="item")
    place = acceptance.find_item(ticket, item)
    text = REQUEST.format(place=place, text=ticket.acceptance[place]["text"])
    return message_routing.route_message(session, ticket, IncomingMessage(body=text), actor, caller)
