"""Bulk changes of the tickets selected on the board: moves, owner, priority and tags, and undoing moves."""

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
from tickets.lifecycle.bulk import BulkChange, BulkResult
from tickets.runs.notify_run import notify_run, stopping_run
from tickets.shared.errors import DomainError, Invalid
from web.site import forms, layout
from web.site.errors import convert_validation_error

from .board_page import redirect_to_board

blueprint = Blueprint("bulk", __name__)

Form = MultiDict[str, str]
Act = tuple[str, str]
EDITS = {"assigned_to": "Owner", "priority": "Priority", "tag": "Add tag", "untag": "Remove tag"}


@blueprint.get("/board/bulk")
def ask() -> str:
    """Show the form of a bulk change: the input of a move, or only a confirmation."""
    return _render_form(_read_act(request.args), _read_tickets(request.args), request.args)


@blueprint.post("/board/bulk")
def change() -> Response | tuple[str, int]:
    """Apply the change to each ticket on its own, and flash which were refused and why."""
    act, tickets = _read_act(request.form), _read_tickets(request.form)
    try:
        change_request = _build_change(act, request.form)
        change_request.check()
    except ValidationError as error:
        return _render_refused_form(act, tickets, convert_validation_error(error))
    except DomainError as refusal:
        return _render_refused_form(act, tickets, refusal)
    result = BulkResult()
    for reference in tickets:
        result.take(reference, partial(_change_ticket, change_request, reference))
    done = "moved" if change_request.move else "changed"
    undo_offer = {"tickets": result.undoable, "label": f"Undo {len(result.undoable)}"} if result.undoable else None
    tone = "warn" if result.refused else "good"
    layout.flash_note(result.words(_format_title(act), done), tone, undo_offer, floats=True, stays=bool(result.refused))
    return redirect_to_board(request.form.get("query", ""))


def _change_ticket(change_request: BulkChange, reference: str) -> bool:
    """Change one ticket in its own transaction, and return whether the change can be undone."""
    with writing(auth.get_instance().engine) as session:
        ticket = change_request.make(session, reference, auth.get_actor())
        stopping = stopping_run(session, ticket.id)
        undoable = undo.find_undo_offer(session, ticket, auth.get_actor()) is not None
    notify_run(auth.get_instance().settings, stopping)
    return undoable


@blueprint.post("/board/undo")
def take_back() -> Response:
    """Undo the last move of each ticket, which is possible for ten seconds."""
    result = BulkResult()
    for reference in _read_tickets(request.form):
        result.take(reference, partial(_undo_move, reference))
    layout.flash_note(result.words("Undo", "moved back"), "warn" if result.refused else "good", floats=True)
    return redirect_to_board(request.form.get("query", ""))


def _undo_move(reference: str) -> bool:
    with writing(auth.get_instance().engine) as session:
        undo.undo_move(session, reference, auth.get_actor())
    return False


# ------------------------------------------------------------------------------------------------- reading the request


def _read_tickets(form: Mapping[str, str]) -> list[str]:
    """Read the tickets of a form, as repeated fields or separated by commas. Raises `Invalid` for none or too many."""
    values = form.getlist("tickets") if isinstance(form, MultiDict) else []
    names = list(dict.fromkeys(name for value in values for name in value.split(",") if name))
    if not names or len(names) > bulk.MAX_TICKETS:
        raise Invalid(f"Select between one and {bulk.MAX_TICKETS} tickets.", field="tickets")
    return names


def _read_act(form: Form) -> Act:
    """Read the change to make as name and value: a move, or a field of `EDITS`. Raises `Invalid`."""
    name = next((candidate for candidate in ("move", *EDITS) if candidate in form), None)
    if name is None or (name == "move" and form[name] not in moves.MOVES):
        raise Invalid("Unknown change.", field="move", moves=sorted(moves.MOVES))
    return name, form[name]


def _build_change(act: Act, form: Form) -> BulkChange:
    name, value = act
    if name == "move":
        move = moves.MOVES[value]
        return BulkChange(move=value, facts=forms.parse_move_input(move, form, auth.get_instance().settings.timezone))
    if name in ("tag", "untag"):
        return BulkChange(tag=value) if name == "tag" else BulkChange(untag=value)
    return BulkChange(fields={name: value or None})


def _format_title(act: Act) -> str:
    name, value = act
    return moves.MOVES[value].label if name == "move" else EDITS[name]


# ------------------------------------------------------------------------------------------------------------ the form


def _render_refused_form(act: Act, tickets: list[str], refusal: DomainError) -> tuple[str, int]:
    if layout.is_script_request():
        raise refusal
    return _render_form(act, tickets, request.form, refusal.message), refusal.status


def _render_form(act: Act, tickets: list[str], form: Form, error: str | None = None) -> str:
    """Render the form of a change, for a script as a fragment for the page's dialog."""
    name, value = act
    move = moves.MOVES[value] if name == "move" else None
    with reading(auth.get_instance().engine) as session:
        move_fields = (
            forms.build_move_fields(move, session, form, auth.get_instance().settings.timezone) if move else []
        )
    fields = [field for field in move_fields if field["name"] != "phase"]  # each ticket has its own phases
    forms.fill_fields(fields, form)
    view = {
        "name": name,
        "value": value,
        "title": _format_title(act),
        "fields": fields,
        "danger": bool(move and move.danger),
    }
    context: dict[str, Any] = {"change": view, "tickets": tickets, "query": form.get("query", ""), "error": error}
    if request.headers.get("HX-Request"):
        return layout.render_part("board/_bulk_form", **context)
    return layout.render_page("board/bulk.html", "board", [("Board", "/board"), (_format_title(act), None)], **context)
