"""The print view of a ticket: description, conversation and evidence, without the page layout."""

from __future__ import annotations

from flask import Blueprint, render_template

import auth
from database import reading
from tickets.board import evidence_tab, ticket_detail
from tickets.conversation import timeline
from tickets.lifecycle import schemas
from tickets.shared.lookup import get_ticket
from web.site import markdown

blueprint = Blueprint("paper", __name__)

MAX_ENTRIES = 2000
"""Number of conversation entries that are printed, the newest ones."""


@blueprint.get("/ticket/<reference>/print")
def show(reference: str) -> str:
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        entries = timeline.list_entries(session, ticket.id, None, MAX_ENTRIES)
        context = {
            "ticket": schemas.build_ticket_json(session, [ticket])[0],
            "description": markdown.render_html(ticket.description),
            "entries": markdown.render_entries(ticket_detail.build_conversation(session, ticket, entries)),
            "cut": MAX_ENTRIES if len(entries) == MAX_ENTRIES else None,
            **evidence_tab.build_tab(session, ticket, None),
        }
    return render_template("ticket/print_view.html", **context)
