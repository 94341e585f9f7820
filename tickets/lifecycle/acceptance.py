"""The acceptance list of a ticket, changed item by item: two people at one list do not undo each other.

An item is named by its place and its text as they were read; where the list has moved meanwhile, the text finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import Evidence, Ticket
from tickets.shared.actors import Actor
from tickets.shared.errors import StaleTicket
from tickets.shared.inputs import EditTicket

from . import editing


@dataclass(frozen=True, slots=True)
class Item:
    """One item as somebody read it."""

    place: int
    text: str


def add_item(session: Session, ticket: Ticket, text: str, actor: Actor) -> None:
    """Raises `Invalid` past fifty items, pydantic's ValidationError for a text that is empty or too long."""
    _write(session, ticket, [*ticket.acceptance, {"text": text, "met": False}], actor)


def reword_item(session: Session, ticket: Ticket, item: Item, text: str, actor: Actor) -> None:
    """Say an item differently; what is met stays met."""
    place, items = _find_item(ticket, item), _copy_items(ticket)
    items[place]["text"] = text
    _write(session, ticket, items, actor)


def remove_item(session: Session, ticket: Ticket, item: Item, actor: Actor) -> None:
    """Take an item off the list; evidence for later items moves up with them."""
    place, items = _find_item(ticket, item), _copy_items(ticket)
    del items[place]
    _write(session, ticket, items, actor)
    mine = Evidence.ticket_id == ticket.id
    session.execute(update(Evidence).where(mine, Evidence.item == place).values(item=None))
    session.execute(update(Evidence).where(mine, Evidence.item > place).values(item=Evidence.item - 1))


def mark_items(session: Session, ticket: Ticket, marks: Iterable[tuple[Item, bool]], actor: Actor) -> None:
    """Say of these items whether each is met; the others stay as they are."""
    items = _copy_items(ticket)
    for item, met in marks:
        items[_find_item(ticket, item)]["met"] = met
    _write(session, ticket, items, actor)


def _copy_items(ticket: Ticket) -> list[dict[str, Any]]:
    return [dict(item) for item in ticket.acceptance]


def _find_item(ticket: Ticket, item: Item) -> int:
    texts = [present["text"] for present in ticket.acceptance]
    if texts[item.place : item.place + 1] == [item.text]:
        return item.place
    if item.text in texts:
        return texts.index(item.text)
    raise StaleTicket(
        f"“{item.text}” is no longer on the list: somebody changed or removed it after you had read it.",
        ticket=ticket.identifier,
        version=ticket.version,
        field="acceptance",
    )


def _write(session: Session, ticket: Ticket, items: list[dict[str, Any]], actor: Actor) -> None:
    body = EditTicket.model_validate({"version": ticket.version, "acceptance": items})
    editing.edit_ticket(session, ticket, body, actor)
