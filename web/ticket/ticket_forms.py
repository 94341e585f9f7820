"""What the forms of a ticket's page share: one change in one transaction, and back; what is refused keeps its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import Ticket
from tickets.shared.errors import DomainError
from tickets.shared.lookup import get
from web.site import layout
from web.site.errors import invalid

Answer = Response | tuple[str, int]
Change = Callable[[Session, Ticket], object]
Again = Callable[[DomainError], Answer]


def may_edit() -> bool:
    """Whether whoever looks at the page may also write on it."""
    return auth.caller().right is auth.Right.OPERATOR


def change(reference: str, made: Change, again: Again, tab: str = "") -> Answer:
    """Make one change and lead back to the page; a refusal is answered with the form `again`."""
    try:
        with writing(auth.instance().engine) as session:
            ticket = get(session, reference)
            made(session, ticket)
    except ValidationError as error:
        return again(invalid(error))
    except DomainError as refused:
        return again(refused)
    return redirect(f"/ticket/{ticket.identifier}" + (f"?tab={tab}" if tab else ""), 303)


def form_again(reference: str, part: str, title: str, refused: DomainError, **shown: Any) -> Answer:
    """The form that was refused, as it was filled in, with what was wrong."""
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
    form = {**request.form.to_dict(), "action": request.path, "error": refused.message}
    return drawn(ticket, part, title, form=form, **shown), refused.status


def drawn(ticket: Ticket, part: str, title: str, **shown: Any) -> str:
    """One form alone: a fragment for the page that asks with a script, else a page of its own."""
    shown["ticket"] = {"identifier": ticket.identifier, "title": ticket.title}
    if layout.enhanced():
        return layout.part(part, **shown)
    crumbs = [("Board", "/board"), (ticket.identifier, f"/ticket/{ticket.identifier}"), (title, None)]
    return layout.page("ticket_form.html", "board", crumbs, form_part=part, form_title=title, **shown)
