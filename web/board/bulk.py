"""Changing the tickets that were selected on the board, all at once: moves, owner, priority, tags; and taking moves back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, request
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

import auth
from database import reading, writing
from tickets.lifecycle import bulk, moves, undo
from tickets.lifecycle.bulk import Change, Result
from tickets.runs import claims
from tickets.shared.errors import DomainError, Invalid
from web.site import forms, layout
from web.site.errors import invalid
from web.site.notify_run import nudge

from .board_page import back

blueprint = Blueprint("bulk", __name__)

Form = MultiDict[str, str]
Act = tuple[str, str]
EDITS = {"assigned_to": "Owner", "priority": "Priority", "tag": "Add tag", "untag": "Remove tag"}


@blueprint.get("/board/bulk")
def ask() -> str:
    """The form of a change for the tickets that are named: what a move must be told, or nothing but a word of consent."""
    return _form(_act(request.args), _tickets(request.args), request.args)


@blueprint.post("/board/bulk")
def change() -> Response | tuple[str, int]:
    """Make the change on each ticket, and say of which it was refused and why; the others are changed all the same."""
    act, tickets = _act(request.form), _tickets(request.form)
    try:
        wanted = _change(act, request.form)
        wanted.check()
    except ValidationError as error:
        return _again(act, tickets, invalid(error))
    except DomainError as refused:
        return _again(act, tickets, refused)
    result = Result()
    for reference in tickets:
        result.take(reference, partial(_make, wanted, reference))
    done = "moved" if wanted.move else "changed"
    kept = {"tickets": result.undoable, "label": f"Take back {len(result.undoable)}"} if result.undoable else None
    tone = "warn" if result.refused else "good"
    layout.note(result.words(_title(act), done), tone, kept, floats=True, stays=bool(result.refused))
    return back(request.form.get("query", ""))


def _make(wanted: Change, reference: str) -> bool:
    """Change one ticket in its own transaction; whether that can be undone."""
    with writing(auth.instance().engine) as session:
        ticket = wanted.make(session, reference, auth.actor())
        stopped = [run.id for run in claims.list_runs(session, ticket.id, 1) if run.stop_code]
        undoable = undo.offered(session, ticket, auth.actor()) is not None
    for run_id in stopped:
        nudge(auth.instance().settings, run_id)
    return undoable


@blueprint.post("/board/undo")
def take_back() -> Response:
    """Take the last move of each ticket back, within its ten seconds."""
    result = Result()
    for reference in _tickets(request.form):
        result.take(reference, partial(_take_back, reference))
    layout.note(result.words("Undo", "moved back"), "warn" if result.refused else "good", floats=True)
    return back(request.form.get("query", ""))


def _take_back(reference: str) -> bool:
    with writing(auth.instance().engine) as session:
        undo.undo(session, reference, auth.actor())
    return False


# ------------------------------------------------------------------------------------------------------ what was asked


def _tickets(form: Mapping[str, str]) -> list[str]:
    """The tickets that a form names, one by one or with commas between. Raises `Invalid` for none, or too many."""
    given = form.getlist("tickets") if isinstance(form, MultiDict) else []
    named = list(dict.fromkeys(name for each in given for name in each.split(",") if name))
    if not named or len(named) > bulk.MOST:
        raise Invalid(f"Select between one and {bulk.MOST} tickets.", field="tickets")
    return named


def _act(form: Form) -> Act:
    """The one thing that is to be done, by the name of the button that was pressed, and its value."""
    found = next((name for name in ("move", *EDITS) if name in form), None)
    if found is None or (found == "move" and form[found] not in moves.MOVES):
        raise Invalid("there is no such change", field="move", moves=sorted(moves.MOVES))
    return found, form[found]


def _change(act: Act, form: Form) -> Change:
    name, value = act
    if name == "move":
        law = moves.MOVES[value]
        return Change(move=value, facts=forms.facts_from(law, form, auth.instance().settings.timezone))
    if name in ("tag", "untag"):
        return Change(tag=value) if name == "tag" else Change(untag=value)
    return Change(fields={name: value or None})


def _title(act: Act) -> str:
    name, value = act
    return moves.MOVES[value].label if name == "move" else EDITS[name]


# ------------------------------------------------------------------------------------------------------------ the form


def _again(act: Act, tickets: list[str], refused: DomainError) -> tuple[str, int]:
    if layout.enhanced():
        raise refused
    return _form(act, tickets, request.form, refused.message), refused.status


def _form(act: Act, tickets: list[str], given: Form, error: str | None = None) -> str:
    """The form of a change; as a fragment for the page's dialog."""
    name, value = act
    law = moves.MOVES[value] if name == "move" else None
    with reading(auth.instance().engine) as session:
        asked = forms.fields_of(law, session, given, auth.instance().settings.timezone) if law else []
    fields = [field for field in asked if field["name"] != "phase"]  # which of its phases is each ticket's own
    forms.fill(fields, given)
    shown = {"name": name, "value": value, "title": _title(act), "fields": fields, "danger": bool(law and law.danger)}
    context: dict[str, Any] = {"change": shown, "tickets": tickets, "query": given.get("query", ""), "error": error}
    if request.headers.get("HX-Request"):
        return layout.part("_bulk_form", **context)
    return layout.page("bulk.html", "board", [("Board", "/board"), (_title(act), None)], **context)
