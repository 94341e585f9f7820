"""A ticket on paper: what was wanted, the whole conversation and the evidence, without the frame."""

from __future__ import annotations

from flask import Blueprint, render_template

import auth
from database import reading
from tickets.board import evidence_tab, ticket_detail
from tickets.conversation import timeline
from tickets.lifecycle import schemas
from tickets.shared.lookup import get
from web.site import markdown

blueprint = Blueprint("paper", __name__)

MOST = 2000
"""Entries of a conversation that are put on paper, the newest."""


@blueprint.get("/ticket/<reference>/print")
def show(reference: str) -> str:
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
        found = timeline.entries(session, ticket.id, None, MOST)
        shown = {
            "ticket": schemas.ticket_json(session, [ticket])[0],
            "description": markdown.html(ticket.description),
            "entries": markdown.drawn(ticket_detail.conversation(session, ticket, found)),
            "cut": MOST if len(found) == MOST else None,
            **evidence_tab.tab(session, ticket, None),
        }
    return render_template("print.html", **shown)
