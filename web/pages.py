"""Overview, board and new ticket: server-rendered, with the same partials as fragments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from models import Session, reading, writing
from tickets import board, lifecycle, overview, saved_views, store
from tickets.board import Filters
from tickets.errors import DomainError
from tickets.lookup import get

from . import forms, frame, vitals
from .errors import invalid

blueprint = Blueprint("pages", __name__)
frame.nav("overview", "/", "layout-dashboard", "Overview", phone=True)
frame.nav("board", "/board", "square-kanban", "Board", phone=True)
frame.nav("health", "/health", "heart-pulse", "Health", "Machine")


# ----------------------------------------------------------------------------------------------------------- overview


@blueprint.get("/")
def show_overview() -> str:
    return frame.page("overview.html", "overview", [], **_overview())


@blueprint.get("/overview/part/body")
def show_overview_part() -> str:
    return frame.part("_overview", **_overview())


def _overview() -> dict[str, Any]:
    with reading(auth.instance().engine) as session:
        frame.cursor(session)
        return {
            "health": vitals.verdict(session),
            "needs_you": overview.needs_you(session),
            "live": overview.at_work(session),
            "plots_data": [overview.finished(session), overview.took(session), overview.spent(session)],
            "tasks": overview.tasks(session),
            "incidents": overview.incidents(session),
            "counts": overview.counts(session),
        }


# -------------------------------------------------------------------------------------------------------------- board


def _filters() -> Filters:
    names = ("project", "assigned_to", "tag", "priority", "q", "archived")
    return Filters(**{name: request.args.get(name, "").strip()[:200] for name in names})


def _query(filters: Filters) -> str:
    kept = request.args.copy()
    for name in list(kept):
        if not getattr(filters, name, "") or name not in Filters.__slots__:
            kept.pop(name)
    return forms.query_string(kept)


@blueprint.get("/board")
def show_board() -> str:
    filters = _filters()
    with reading(auth.instance().engine) as session:
        frame.cursor(session)
        only = request.args.get("column")
        columns = (
            [board.column(session, only, filters, auth.actor(), request.args.get("cursor"))]
            if only
            else board.columns(session, filters, auth.actor())
        )
        choices = forms.choices(session)
        views = _views(session, _query(filters))
    return frame.page(
        "board.html",
        "board",
        [("Board", None)],
        columns=columns,
        filters=filters,
        choices=choices,
        query=_query(filters),
        views=views,
    )


def _views(session: Session, query: str) -> list[dict[str, Any]]:
    here = saved_views.narrowed(query)
    return [
        {"label": view.name, "href": f"/board?{view.query}", "current": view.query == here}
        for view in saved_views.all_views(session)
    ]


@blueprint.post("/board/views")
def save_view() -> Response:
    name, query = request.form.get("name", ""), request.form.get("query", "")
    return _change_views(lambda session: saved_views.save(session, name, query, auth.actor()), query)


@blueprint.post("/board/views/delete")
def delete_view() -> Response:
    name = request.form.get("name", "")
    return _change_views(lambda session: saved_views.forget(session, name, auth.actor()), "")


def _change_views(change: Callable[[Session], object], query: str) -> Response:
    try:
        with writing(auth.instance().engine) as session:
            change(session)
    except DomainError as refused:
        frame.note(refused.message, "bad")
    kept = saved_views.narrowed(query)
    return redirect(f"/board?{kept}" if kept else "/board", 303)


@blueprint.get("/board/column/<status>")
@blueprint.get("/board/column/<status>/cards", endpoint="more_cards")
def show_column(status: str) -> str:
    size = min(max(request.args.get("limit", board.PAGE, int), board.PAGE), 10 * board.PAGE)
    with reading(auth.instance().engine) as session:
        column = board.column(session, status, _filters(), auth.actor(), request.args.get("cursor"), size)
    return frame.part("_column_body", column=column, query=_query(_filters()))


@blueprint.post("/board/bulk")
def move_many() -> Response:
    """One move for each selected ticket; each is its own transaction, and what was refused is said."""
    move, done = request.form.get("move", ""), 0
    for reference in request.form.getlist("tickets")[:200]:
        try:
            with writing(auth.instance().engine) as session:
                lifecycle.transition(session, get(session, reference).id, move, auth.actor())
            done += 1
        except DomainError as refused:
            frame.note(refused.message, "warn")
    frame.note(f"{done} moved.")
    return redirect("/board", 303)


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


# ------------------------------------------------------------------------------------------------------------- health


@blueprint.get("/health")
def show_health() -> str:
    settings = auth.instance().settings
    with reading(auth.instance().engine) as session:
        report, measured = vitals.verdict(session), store.last(session)
    limits = {
        "events": settings.sse_max_total_clients,
        "tails": settings.sse_max_tail_clients,
        "sockets": settings.ws_max_clients,
    }
    context = {"report": report, "measured": measured, "threads": settings.threads, "limits": limits}
    workers = vitals.workers(settings.vitals_dir)
    return frame.page("health.html", "health", [("Health", None)], workers=workers, **context)
