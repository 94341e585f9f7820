"""Common parts of the forms on a ticket's page: apply a change in a transaction, or show the form again with its error."""

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
from tickets.shared.lookup import get_ticket
from web.site import layout
from web.site.errors import convert_validation_error

Answer = Response | tuple[str, int]
Change = Callable[[Session, Ticket], object]
Again = Callable[[DomainError], Answer]


def may_edit() -> bool:
    """Return whether the caller may edit tickets."""
    return auth.get_caller().right is auth.Right.OPERATOR


def apply_change(reference: str, edit: Change, again: Again, tab: str = "") -> Answer:
    """Apply a change in one transaction and redirect to the ticket, or return `again(error)` if it is refused."""
    try:
        with writing(auth.get_instance().engine) as session:
            ticket = get_ticket(session, reference)
            edit(session, ticket)
    except ValidationError as error:
        return again(convert_validation_error(error))
    except DomainError as refusal:
        return again(refusal)
    return redirect(f"/ticket/{ticket.identifier}" + (f"?tab={tab}" if tab else ""), 303)


def render_refused_form(reference: str, part: str, title: str, refusal: DomainError, **context: Any) -> Answer:
    """Render a refused form with the entered values and the error message."""
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
    form = {**request.form.to_dict(), "action": request.path, "error": refusal.message}
    return render_form(ticket, part, title, form=form, **context), refusal.status


def is_for_dialog() -> bool:
    """Return whether a script of the page shows the form, in a dialog or in the place of a refused one."""
    return bool(request.headers.get("HX-Request")) or layout.is_script_request()


def render_form(ticket: Ticket, part: str, title: str, **context: Any) -> str:
    """Render a form, for a script as a fragment, else as a page of its own."""
    context["ticket"] = {"identifier": ticket.identifier, "title": ticket.title}
    if is_for_dialog():
        return layout.render_part(part, **context)
    crumbs = [("Board", "/board"), (ticket.identifier, f"/ticket/{ticket.identifier}"), (title, None)]
    return layout.render_page("ticket/form_page.html", "board", crumbs, form_part=part, form_title=title, **context)
