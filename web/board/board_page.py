"""The board: columns by state, lanes by attention, or a list; each with the same filters, and kept fresh in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, after_this_request, redirect, request
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from tickets.board import columns, lanes, list_view, saved_views
from tickets.board.columns import Filters, Viewer
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import moves, transitions
from tickets.shared.errors import DomainError, Invalid
from tickets.shared.inputs import NewTicket
from tickets.team import agents, projects
from web.site import forms, layout

blueprint = Blueprint("board_page", __name__)

View = dict[str, Any]
VIEWS = [("columns", "Columns"), ("lanes", "Lanes"), ("list", "List")]
PAGES = 20
"""How many pages that were loaded one after the other are refreshed at once."""
A_YEAR = 365 * 24 * 3600


@dataclass(frozen=True)
class Look:
    """How the board is looked at: which tickets, in which view, and for the list which states in which order."""

    filters: Filters
    view: str
    status: str
    sort: str

    @cached_property
    def query(self) -> str:
        """As it stands in an address."""
        return saved_views.narrowed(urlencode(self._said()))

    @property
    def narrows(self) -> bool:
        """Whether it shows less than all that is open."""
        return any(asdict(self.filters).values()) or (self.view == "list" and bool(self.status))

    def href(self, **changes: str) -> str:
        """The address of the board with something changed; an empty value is left out."""
        return f"/board?{saved_views.narrowed(urlencode(self._said() | changes))}"

    def _said(self) -> dict[str, str]:
        own = {"status": self.status, "sort": self.sort} if self.view == "list" else {}
        return asdict(self.filters) | {"view": self.view} | own


def _look() -> Look:
    filters = Filters(**{name: _said(name) for name in Filters.__slots__})
    return Look(filters, _view(), _said("status"), _said("sort") or "updated")


def _said(name: str) -> str:
    return request.args.get(name, "").strip()[:200]


def _view() -> str:
    """The view that the address names, which is remembered; else the one that this browser saw last."""
    known, asked = dict(VIEWS), _said("view")
    cookie = f"mc_view_{auth.instance().settings.instance}"
    if not asked:
        remembered = request.cookies.get(cookie, "")
        return remembered if remembered in known else "columns"
    if asked not in known:
        raise Invalid(f"there is no view named {asked[:40]!r}", field="view", choices=list(known))

    @after_this_request
    def remember(response: Response) -> Response:
        response.set_cookie(cookie, asked, max_age=A_YEAR, httponly=True, samesite="Lax")
        return response

    return asked


def _viewer() -> Viewer:
    return Viewer(auth.actor(), DispatchLimits.of(auth.instance().settings))


# ------------------------------------------------------------------------------------------------------------ the page


@blueprint.get("/board")
def show() -> str:
    look = _look()
    with reading(auth.instance().engine) as session:
        layout.around(session)
        shown = _shown(session, look)
        shown |= {"choices": forms.choices(session), "views": _views(session, look.query)}
        shown |= {"first": _first_steps(session) if columns.is_empty(session) else None}
    bulk = {"moves": [law for law in moves.MOVES.values() if law.label]}
    return layout.page("board.html", "board", [("Board", None)], look=look, view_names=VIEWS, bulk=bulk, **shown)


def _shown(session: Session, look: Look) -> View:
    """The tickets of a view; a page of one column or lane alone where the address names one."""
    cursor, viewer = request.args.get("cursor"), _viewer()
    if look.view == "list":
        return {
            "table": list_view.table(session, look.filters, viewer, status=look.status, sort=look.sort, cursor=cursor)
        }
    if look.view == "lanes":
        lane = request.args.get("lane")
        alone = [lanes.lane(session, lane, look.filters, viewer, cursor)] if lane else None
        return {"lanes": alone or lanes.lanes(session, look.filters, viewer)}
    status = request.args.get("column")
    column = [columns.column(session, status, look.filters, viewer, cursor)] if status else None
    return {"columns": column or columns.columns(session, look.filters, viewer)}


def _first_steps(session: Session) -> View:
    """What a board without any ticket has already, of what it takes to see one worked."""
    runnable = agents.runnable(session)
    return {"projects": len(projects.all_projects(session)), "agents": sorted(runnable)}


# --------------------------------------------------------------------------------------------------- parts of the page


@blueprint.get("/board/column/<status>")
def show_column(status: str) -> str:
    look, size = _look(), _size(columns.PAGE)
    with reading(auth.instance().engine) as session:
        column = columns.column(session, status, look.filters, _viewer(), request.args.get("cursor"), size)
    return layout.part("_column_body", column=column, look=look)


@blueprint.get("/board/lane/<name>")
def show_lane(name: str) -> str:
    look, size = _look(), _size(columns.PAGE)
    with reading(auth.instance().engine) as session:
        lane = lanes.lane(session, name, look.filters, _viewer(), request.args.get("cursor"), size)
    return layout.part("_lane_body", lane=lane, look=look)


@blueprint.get("/board/list")
def show_list() -> str:
    look, size = _look(), _size(list_view.PAGE)
    with reading(auth.instance().engine) as session:
        shown = list_view.table(
            session,
            look.filters,
            _viewer(),
            status=look.status,
            sort=look.sort,
            cursor=request.args.get("cursor"),
            size=size,
        )
    return layout.part("_list_body", table=shown, look=look)


def _size(page: int) -> int:
    """As many as are shown already, so that a refresh takes nothing away."""
    return min(max(request.args.get("limit", page, int), page), PAGES * page)


@blueprint.get("/board/notes")
def show_notes() -> str:
    """What is to be said after a form that was sent from the board, for a page that stays."""
    return layout.notes()


def back(query: str) -> Response:
    """To the board as it was looked at; a script that asks gets what is to be said alone."""
    if layout.enhanced():
        return redirect("/board/notes", 303)
    return redirect(f"/board?{saved_views.narrowed(query)}", 303)


# --------------------------------------------------------------------------------------------------------- saved views


def _views(session: Session, query: str) -> list[View]:
    return [
        {"label": view.name, "href": f"/board?{view.query}", "current": view.query == query}
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
        layout.note(refused.message, "bad")
    return redirect(f"/board?{saved_views.narrowed(query)}", 303)


# ----------------------------------------------------------------------------------------------------------- quick add


@blueprint.post("/board/quick")
def quick_add() -> Response:
    """A ticket of a title alone, with what the board is narrowed to, so that it shows up where it was written."""
    query = request.form.get("query", "")
    given = {"title": request.form.get("title", ""), "status": request.form.get("status", "inbox")}
    body = NewTicket.model_validate(given | saved_views.defaults(query))
    with writing(auth.instance().engine) as session:
        made = transitions.create(session, body, auth.actor())
    if not layout.enhanced():  # a page that stays shows the ticket itself
        layout.note(f"{made.identifier} was added.")
    return back(query)
