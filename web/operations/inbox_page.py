"""The page of the orchestrator's inbox, whose forms let a person settle an item."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from database import reading, writing
from models import InboxState
from tickets.operations import inbox_items
from tickets.shared import rights
from tickets.shared.errors import DomainError
from tickets.shared.rights import Act
from web.site import layout

blueprint = Blueprint("inbox_pages", __name__)
layout.add_nav_item("inbox", "/inbox", "inbox", "Inbox", "Machine", go="n")

OPEN_STATES = (InboxState.PENDING, InboxState.DELIVERED)
SETTLED_STATES = (InboxState.FAILED, InboxState.ACTED)
MAX_SETTLED = 20
NOTES = {"act": "The item is settled without an action.", "fail": "The item is marked as failed."}


@blueprint.get("/inbox")
def show_inbox() -> str:
    with reading(auth.get_instance().engine) as session:
        groups = [(state.value, inbox_items.list_items(session, state)) for state in OPEN_STATES]
        groups += [(state.value, inbox_items.list_items(session, state, limit=MAX_SETTLED)) for state in SETTLED_STATES]
        count = inbox_items.count_open(session)
    may_settle = rights.may(auth.get_actor(), Act.WORK_INBOX)
    return layout.render_page(
        "operations/inbox.html", "inbox", [("Inbox", None)], groups=groups, count=count, may_settle=may_settle
    )


@blueprint.post("/inbox/<number:item_id>/<any(act, fail):order>")
def settle_item(item_id: int, order: str) -> Response:
    """Settle an item with the reason of the form: without an action, or as failed."""
    reason, actor = request.form.get("reason", ""), auth.get_actor()
    try:
        with writing(auth.get_instance().engine) as session:
            if order == "act":
                inbox_items.dismiss_item(session, item_id, reason, actor)
            else:
                inbox_items.fail_item(session, item_id, reason, actor)
    except DomainError as refusal:
        layout.flash_note(f"{refusal.message.removesuffix('.')}.", "bad")
    else:
        layout.flash_note(NOTES[order])
    return redirect("/inbox", 303)
