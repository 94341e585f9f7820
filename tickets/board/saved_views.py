"""Saved views of the board: named sets of filters of one person."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import SavedView
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, NotFound

from .columns import Filters

MAX_VIEWS = 30
MAX_NAME_CHARACTERS = 40
QUERY_KEYS = sorted((*Filters.__slots__, "view", "status", "sort", "group", "lane"))
DEFAULT_VIEW = "lanes"
DEFAULT_QUERY = f"view={DEFAULT_VIEW}"
SAVED_VIEWS = select(SavedView).where(SavedView.author == bindparam("author")).order_by(SavedView.name)


def list_views(session: Session, author: str) -> list[SavedView]:
    return list(session.scalars(SAVED_VIEWS, {"author": author}))


def save_view(session: Session, name: str, query: str, actor: Actor) -> SavedView:
    """Save the filters of a view under a name.

    Raises `Invalid` for an empty name or the unfiltered board, `ConflictError` for a name in use or too many views.
    """
    name, filters = " ".join(name.split())[:MAX_NAME_CHARACTERS], normalize_query(query)
    if not name or filters == DEFAULT_QUERY:
        raise Invalid("A view needs a name and at least one filter or setting.", field="name")
    if len(list_views(session, actor.name)) >= MAX_VIEWS:
        raise ConflictError(f"There are already {MAX_VIEWS} saved views. Delete one first.")
    values = {"name": name, "query": filters, "author": actor.name}
    view: SavedView | None = session.scalar(insert_or_ignore(session, SavedView).values(**values).returning(SavedView))
    if view is None:
        raise ConflictError(f"There is already a view named “{name}”.")
    events.append(session, None, "view_saved", {"title": name, "query": filters}, actor)
    return view


def delete_view(session: Session, name: str, actor: Actor) -> None:
    """Delete a saved view. Raises `NotFound`."""
    own_view = (SavedView.author == actor.name, SavedView.name == name)
    if session.scalar(delete(SavedView).where(*own_view).returning(SavedView.name)) is None:
        raise NotFound("There is no saved view with this name.", view=name[:MAX_NAME_CHARACTERS])
    events.append(session, None, "view_deleted", {"title": name}, actor)


def normalize_query(query: str) -> str:
    """Normalize a query to the parameters of the board in a fixed order, always with `view`, so that equal ones are equal.

    Repeated parameters become one with several values.
    """
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(query[:2000]):
        parameters.setdefault(name, []).append(value)
    values = {"view": DEFAULT_VIEW} | {name: ",".join(parts) for name, parts in parameters.items()}
    return urlencode({name: values[name][:200] for name in QUERY_KEYS if values.get(name)}, safe=",")


def build_defaults(query: str) -> dict[str, Any]:
    """Build fields of `NewTicket` with which a new ticket matches the filters of a query."""
    parameters = {name: value for name, value in parse_qsl(query[:2000]) if "," not in value}
    fields: dict[str, Any] = {
        name: parameters[name] for name in ("project", "assigned_to", "priority") if parameters.get(name)
    }
    return fields | ({"tags": [parameters["tag"]]} if parameters.get("tag") else {})
