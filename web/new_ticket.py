"""New ticket"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from models import reading, writing
from tickets import lifecycle
from tickets.errors import DomainError

from . import forms, frame
from .errors import invalid

blueprint = Blueprint("new_ticket", __name__)
# --------------------------------------------------------------------------------------------------------- new ticket


@blueprint.get("/ticket/new")
def ask_new() -> str:
    return _new_form(request.args, {})


@blueprint.post("/ticket/new")
def create() -> Response | tuple[str, int]:
    instance = auth.instance()
    try:
        body = forms.new_ticket(request.form, instance.settings.timezone)
        with writing(instance.engine) as session:
            identifier = lifecycle.create(session, body, auth.actor()).identifier
    except ValidationError as error:
        return _new_form(request.form, invalid(error).detail["fields"]), 422
    except DomainError as refused:
        return _new_form(request.form, {refused.detail.get("field", "form"): refused.message}), refused.status
    return redirect(f"/ticket/{identifier}", 303)


def _new_form(given: Any, errors: dict[str, str]) -> str:
    with reading(auth.instance().engine) as session:
        choices = forms.choices(session)
    choices |= {
        "project": [("", "No project"), *choices["project"]],
        "assigned_to": [("", "Nobody yet"), *choices["assigned_to"]],
        "status": [("todo", "To do: starts when policy allows"), ("inbox", "Inbox: triaged first")],
        "tags": choices["tag"],
    }
    names = ("title", "description", "acceptance", "project", "assigned_to", "not_before", "after")
    form = {name: given.get(name, "") for name in names}
    form |= {
        "priority": given.get("priority", "normal"),
        "status": given.get("status", "todo"),
        "tags": given.getlist("tags"),
    }
    errors = {name.split(".")[0]: words for name, words in errors.items()}
    shown = set(names) | {"priority", "status", "tags"}
    stray = [f"{name}: {words}" for name, words in errors.items() if name not in shown and name != "form"]
    if stray and "form" not in errors:
        errors["form"] = "; ".join(stray)
    crumbs: list[tuple[str, str | None]] = [("Board", "/board"), ("New ticket", None)]
    return frame.page("ticket_new.html", "board", crumbs, form=form, errors=errors, choices=choices)
