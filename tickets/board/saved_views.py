"""Saved views of the board: sets of filters that have a name, for everybody who uses this instance."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import SavedView
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import Conflict, Invalid, NotFound

from .columns import Filters

MOST = 30
LONGEST = 40
NAMES = sorted((*Filters.__slots__, "view", "status", "sort"))
PLAIN = "view=columns"
ALL = select(SavedView).order_by(SavedView.name)


def all_views(session: Session) -> list[SavedView]:
    return list(session.scalars(ALL))


def save(session: Session, name: str, query: str, actor: Actor) -> SavedView:
    """Keep a view with its filters under a name. Raises `Invalid` for an empty name or the whole board, `Conflict` for a
    name that is taken or one view too many."""
    name, kept = " ".join(name.split())[:LONGEST], narrowed(query)
    if not name or kept == PLAIN:
        raise Invalid("A view has a name, and something that tells it from the whole board.", field="name")
    if len(all_views(session)) >= MOST:
        raise Conflict(f"There are {MOST} saved views already; delete one first.")
    values = {"name": name, "query": kept, "author": actor.name}
    made: SavedView | None = session.scalar(insert_or_ignore(session, SavedView).values(**values).returning(SavedView))
    if made is None:
        raise Conflict(f"There is a view named “{name}” already.")
    events.append(session, None, "view_saved", {"title": name, "query": kept}, actor)
    return made


def forget(session: Session, name: str, actor: Actor) -> None:
    """Raises `NotFound`."""
    if session.scalar(delete(SavedView).where(SavedView.name == name).returning(SavedView.name)) is None:
        raise NotFound("There is no saved view of that name.", view=name[:LONGEST])
    events.append(session, None, "view_deleted", {"title": name}, actor)


def narrowed(query: str) -> str:
    """A query with what the board goes by alone, in one order, so that equal ones are equal; it always names the view."""
    given = {"view": "columns"} | dict(parse_qsl(query[:2000]))
    return urlencode({name: given[name][:200] for name in NAMES if given.get(name)})


def defaults(query: str) -> dict[str, Any]:
    """What a new ticket must be like to be among those that a query shows, as fields of `NewTicket`."""
    given = dict(parse_qsl(query[:2000]))
    fields: dict[str, Any] = {name: given[name] for name in ("project", "assigned_to", "priority") if given.get(name)}
    return fields | ({"tags": [given["tag"]]} if given.get("tag") else {})
