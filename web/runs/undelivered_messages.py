"""Forms for messages that did not reach their agent: send one again, or dismiss it."""

from __future__ import annotations

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

import auth
from database import writing
from tickets.conversation import messages
from tickets.runs.notify_run import notify_run
from tickets.shared.errors import ConflictError
from tickets.shared.lookup import find_live_run, get_ticket
from web.site import layout

blueprint = Blueprint("undelivered_messages", __name__)


@blueprint.post("/ticket/<reference>/messages/<number:message_id>/<any(resend, dismiss):order>")
def settle_message(reference: str, message_id: int, order: str) -> Response:
    try:
        with writing(auth.get_instance().engine) as session:
            ticket = get_ticket(session, reference)
            settle = messages.resend_message if order == "resend" else messages.dismiss_message
            settle(session, ticket, message_id, auth.get_actor())
            run = find_live_run(session, ticket.id)
    except ConflictError as refusal:
        layout.flash_note(refusal.message, "warn")
    else:
        notify_run(auth.get_instance().settings, run.id if run else None)
        layout.flash_note("The message is queued again." if order == "resend" else "The message is dismissed.")
    return redirect(f"/ticket/{reference}", 303)
