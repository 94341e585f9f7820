"""Changes to single items of a ticket's acceptance list, so that concurrent editors do not overwrite each other.

An item is identified by its index and text as read. When the list has changed meanwhile, it is found by its text.
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
from tickets.workflow import item_evidence
from tickets.workflow.item_evidence import ItemState

from . import editing


@dataclass(frozen=True, slots=True)
class Item:
    """One acceptance item as it was read."""

    place: int
    text: str


def add_item(session: Session, ticket: Ticket, text: str, actor: Actor) -> None:
    """Add an item. Raises `Invalid` above fifty items, Pydantic's ValidationError for an empty or too long text."""
    _write(session, ticket, [*ticket.acceptance, {"text": text, "met": False}], actor)


def reword_item(session: Session, ticket: Ticket, item: Item, text: str, actor: Actor) -> None:
    """Change the text of an item, keeping its `met` mark."""
    place, items = find_item(ticket, item), _copy_items(ticket)
    items[place]["text"] = text
    _write(session, ticket, items, actor)


def remove_item(session: Session, ticket: Ticket, item: Item, actor: Actor) -> None:
    """Remove an item, and renumber the evidence of the items after it."""
    place, items = find_item(ticket, item), _copy_items(ticket)
    del items[place]
    _write(session, ticket, items, actor)
    mine = Evidence.ticket_id == ticket.id
    session.execute(update(Evidence).where(mine, Evidence.item == place).values(item=None))
    session.execute(update(Evidence).where(mine, Evidence.item > place).values(item=Evidence.item - 1))


def mark_items(session: Session, ticket: Ticket, marks: Iterable[tuple[Item, bool]], actor: Actor) -> None:
    """Set the `met` marks of these items and leave the others unchanged."""
    items = _copy_items(ticket)
    for item, met in marks:
        items[find_item(ticket, item)]["met"] = met
    _write(session, ticket, items, actor)


def judge_item(session: Session, ticket: Ticket, item: Item, state: ItemState | None, note: str, actor: Actor) -> None:
    """Set the state of an item as a person sees it, with its mark. None withdraws the decision."""
    place, items = find_item(ticket, item), _copy_items(ticket)
    items[place]["met"] = state is ItemState.VERIFIED
    _write(session, ticket, items, actor, records_marks=False)
    item_evidence.judge_item(session, ticket, place, state, note, actor)


def _copy_items(ticket: Ticket) -> list[dict[str, Any]]:
    return [dict(item) for item in ticket.acceptance]


def find_item(ticket: Ticket, item: Item) -> int:
    """Find the present index of an item. Raises `StaleTicket` when it was changed or removed."""
    texts = [present["text"] for present in ticket.acceptance]
    if texts[item.place : item.place + 1] == [item.text]:
        return item.place
    if item.text in texts:
        return texts.index(item.text)
    raise StaleTicket(
        f"“{item.text}” is no longer on the list: it was changed or removed since you read it.",
        ticket=ticket.identifier,
        version=ticket.version,
        field="acceptance",
    )


def _write(
    session: Session, ticket: Ticket, items: list[dict[str, Any]], actor: Actor, *, records_marks: bool = True
) -> None:
    body = EditTicket.model_validate({"version": ticket.version, "acceptance": items})
    editing.edit_ticket(session, ticket, body, actor, records_marks=records_marks)
