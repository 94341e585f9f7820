"""The review queue: one ticket that waits for a person at a time, with what is needed to decide it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from database import Session, reading
from tickets.board import review_queue
from tickets.shared import paging
from tickets.shared.lookup import get_ticket
from web.site import layout

from . import ticket_page

blueprint = Blueprint("review_queue", __name__)
layout.add_nav_item("review", "/review", "scan-eye", "Review", phone=True, go="r", after="overview")

View = dict[str, Any]


@blueprint.get("/review")
def show_queue() -> str | Response:
    """Show a ticket of the queue (`at`), the first one by default.

    For one that no longer waits, and after a decision on one (`after`), it leads to the next ticket. `position` is the
    place that the ticket had.
    """
    at, after = request.args.get("at"), request.args.get("after")
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        place = None if after else review_queue.find_place(session, at)
        identifier = place.identifier if place else _find_next(session, after or at)
        if place is None and identifier:
            return redirect(f"/review?at={identifier}", 303)
        context = _load_ticket(session, identifier) if identifier else {}
    return layout.render_page("ticket/review_queue.html", "review", [("Review", None)], place=place, **context)


@blueprint.get("/review/part/bar")
def show_bar() -> str:
    """Render the bar of a ticket, with its place in the queue as it is now."""
    with reading(auth.get_instance().engine) as session:
        identifier = get_ticket(session, request.args.get("at", "")).identifier
        context = {"place": review_queue.find_place(session, identifier), **ticket_page.load_bar(session, identifier)}
    return layout.render_part("ticket/_queue_bar", position=_read_position(), **context)


def _find_next(session: Session, identifier: str | None) -> str | None:
    return review_queue.find_next(session, identifier, _read_position()) if identifier else None


def _read_position() -> int:
    return paging.parse_number(request.args.get("position")) or 1


def _load_ticket(session: Session, identifier: str) -> View:
    facts = review_queue.load_facts(session, get_ticket(session, identifier))
    return {"facts": facts, "changes_query": f"?at={identifier}", **ticket_page.load_review(session, identifier)}
