"""A ticket at a glance, for a dialog over the board."""

from __future__ import annotations

from flask import Blueprint

import auth
from database import reading
from tickets.board import columns
from tickets.board.columns import Viewer
from tickets.dispatch.policy import DispatchLimits
from tickets.shared.lookup import get_ticket
from web.site import layout, markdown

blueprint = Blueprint("peek", __name__)


@blueprint.get("/ticket/<reference>/peek")
def show(reference: str) -> str:
    """Render what the ticket's card says, with its description and acceptance list."""
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        viewer = Viewer(auth.get_actor(), DispatchLimits.from_settings(auth.get_instance().settings))
        card = columns.build_cards(session, [ticket], viewer)[ticket.id]
        description, acceptance = markdown.render_html(ticket.description), ticket.acceptance
    return layout.render_part("ticket/_peek", card=card, description=description, acceptance=acceptance)
