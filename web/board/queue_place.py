"""The place of a ticket in the queue, as its card's menu, a drag or a key changes it."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from database import writing
from tickets.dispatch import queue_order
from tickets.dispatch.queue_order import QueuePlace
from tickets.shared.errors import DomainError
from tickets.shared.lookup import get_ticket
from web.site import layout

blueprint = Blueprint("queue_place", __name__)
PLACES = ("before", "after", "to")


@blueprint.post("/ticket/<reference>/place")
def place(reference: str) -> Response:
    """Put a ticket of To do before or after another, one step up or down, or to the top."""
    body = QueuePlace.model_validate({name: request.form[name] for name in PLACES if request.form.get(name)})
    try:
        with writing(auth.get_instance().engine) as session:
            queue_order.place_ticket(session, get_ticket(session, reference), body, auth.get_actor())
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        layout.flash_note(refusal.message, "bad")
    return redirect("/board/notes" if layout.is_script_request() else "/board", 303)
