"""The form that starts several attempts at a ticket, and the button that keeps one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import Ticket
from tickets.planning import attempts
from tickets.planning.attempts import StartAttempts
from tickets.runs.notify_run import notify_run, stopping_run
from tickets.shared.errors import DomainError, Invalid
from tickets.shared.lookup import get_ticket
from tickets.team import agents, team_status
from web.site import layout

from .ticket_forms import Answer, apply_change, render_form

blueprint = Blueprint("attempts_page", __name__)

View = dict[str, Any]
FORM_PART = "ticket/_attempts_form"


def list_choices(session: Session) -> list[View]:
    """List the agents that can make an attempt, with their availability."""
    runnable = agents.list_runnable(session)
    return [
        {"name": member.name, "title": member.title or member.name, "words": member.words}
        for member in team_status.list_team(session)
        if member.name in runnable
    ]


def read_agents(form: MultiDict[str, str]) -> StartAttempts | None:
    """Read the agents from a form, None where none is chosen. Raises `Invalid` for another number than two or three."""
    names = form.getlist("attempts")
    if not names:
        return None
    try:
        return StartAttempts(agents=names)
    except ValidationError:
        raise Invalid("Choose two or three agents.", field="attempts") from None


@blueprint.get("/ticket/<reference>/attempts")
@auth.allow(auth.Right.OPERATOR)
def ask_agents(reference: str) -> str:
    """Show the form that starts several attempts."""
    return _render_form(reference, None)


def _render_form(reference: str, error: str | None) -> str:
    with reading(auth.get_instance().engine) as session:
        ticket, choices = get_ticket(session, reference), list_choices(session)
    return render_form(
        ticket,
        FORM_PART,
        "Try with several agents",
        choices=choices,
        chosen=request.form.getlist("attempts"),
        error=error,
    )


@blueprint.post("/ticket/<reference>/attempts")
def start_attempts(reference: str) -> Answer:
    """Start an attempt for each chosen agent."""

    def start(session: Session, ticket: Ticket) -> None:
        body = read_agents(request.form)
        if body is None:
            raise Invalid("Choose two or three agents.", field="attempts")
        attempts.start_attempts(session, ticket, body, auth.get_actor())

    return apply_change(reference, start, lambda refusal: (_render_form(reference, refusal.message), refusal.status))


@blueprint.post("/ticket/<reference>/keep")
def keep_attempt(reference: str) -> Response:
    """Keep this attempt, cancel the others, and go on to its page."""
    instance = auth.get_instance()
    try:
        with writing(instance.engine) as session:
            ticket = get_ticket(session, reference)
            cancelled_tickets = attempts.keep_attempt(session, ticket, auth.get_actor())
            runs = [stopping_run(session, other.id) for other in cancelled_tickets]
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        layout.flash_note(refusal.message, "bad")
        return redirect(f"/ticket/{reference}", 303)
    for run in runs:
        notify_run(instance.settings, run)
    names = ", ".join(other.identifier for other in cancelled_tickets)
    layout.flash_note(f"{ticket.identifier} was kept." + (f" {names} cancelled; the branches stay." if names else ""))
    return redirect(f"/ticket/{ticket.identifier}", 303)
