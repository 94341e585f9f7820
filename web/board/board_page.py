"""The board page: lanes, columns by state, or a list, with common filters and parts that are refreshed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, after_this_request, redirect, request
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from tickets.board import columns, lanes, list_view, overview, saved_views, swim_lanes
from tickets.board.columns import Filters, Viewer
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import moves, transitions
from tickets.shared.errors import DomainError, Invalid
from tickets.shared.inputs import NewTicket
from tickets.shared.label_colors import label_project
from tickets.team import projects
from web.site import forms, layout

blueprint = Blueprint("board_page", __name__)

View = dict[str, Any]
VIEWS = [("lanes", "Lanes"), ("columns", "Columns"), ("list", "List")]
GROUPS = [("", "State"), ("project", "Project"), ("assigned_to", "Owner")]
FILTERS = [("project", "Project"), ("assigned_to", "Owner"), ("priority", "Priority"), ("tag", "Tag")]
"""Filters with a menu of values, of which several may be chosen."""
MAX_PAGES = 20
"""Number of loaded pages of a list that one refresh renders at most."""
YEAR_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True)
class BoardView:
    """The displayed state of the board: filters and view, status and sort order of the list, group and single lane."""

    filters: Filters
    view: str
    status: str
    sort: str
    group: str
    lane: str

    @cached_property
    def query(self) -> str:
        """The view as a normalized query string."""
        return saved_views.normalize_query(urlencode(self._list_arguments()))

    @property
    def narrows(self) -> bool:
        """True when filters hide some of the open tickets."""
        return any(asdict(self.filters).values()) or (self.view == "list" and bool(self.status))

    def href(self, **changes: str) -> str:
        """Build the URL of the board with changed arguments. Empty values are left out."""
        filters = {name: changes.pop(name) for name in Filters.__slots__ if name in changes}
        return f"/board?{replace(self, filters=replace(self.filters, **filters), **changes).query}"

    def _list_arguments(self) -> dict[str, str]:
        own = {
            "list": {"status": self.status, "sort": self.sort},
            "lanes": {"group": self.group, "lane": self.lane},
        }.get(self.view, {})
        return asdict(self.filters) | {"view": self.view} | own


def _read_board_view() -> BoardView:
    filters = Filters(**{name: _read_argument(name) for name in Filters.__slots__})
    group = _read_argument("group")
    if group and group not in swim_lanes.GROUPS:
        raise Invalid(f"Unknown group {group[:40]!r}.", field="group", choices=list(swim_lanes.GROUPS))
    sort = _read_argument("sort") or "updated"
    return BoardView(filters, _read_view_name(), _read_argument("status"), sort, group, _read_argument("lane"))


def _read_argument(name: str) -> str:
    """Read a parameter, whose repeated values are separated by commas."""
    return ",".join(value for value in request.args.getlist(name) if value).strip()[:200]


def _read_view_name() -> str:
    """Read the view from the query string and store it in a cookie, or else read the cookie of an earlier visit."""
    views, name = dict(VIEWS), _read_argument("view")
    cookie = f"mc_view_{auth.get_instance().settings.instance}"
    previous = request.cookies.get(cookie, "")
    if not name:
        return previous if previous in views else saved_views.DEFAULT_VIEW
    if name not in views:
        raise Invalid(f"Unknown view {name[:40]!r}.", field="view", choices=list(views))
    if name == previous:
        return name

    @after_this_request
    def remember(response: Response) -> Response:
        response.set_cookie(cookie, name, max_age=YEAR_SECONDS, httponly=True, samesite="Lax")
        return response

    return name


def _build_viewer() -> Viewer:
    return Viewer(auth.get_actor(), DispatchLimits.from_settings(auth.get_instance().settings))


# ------------------------------------------------------------------------------------------------------------ the page


@blueprint.get("/board")
def show() -> str:
    view = _read_board_view()
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        context = _load_tickets(session, view)
        context |= {"choices": forms.load_choices(session), "views": _list_saved_views(session, view.query)}
        context |= {"first": overview.load_first_steps(session), "card_actions": columns.list_card_actions()}
    bulk = {"moves": [move for move in moves.MOVES.values() if move.label]}
    return layout.render_page(
        "board/board_page.html",
        "board",
        [("Board", None)],
        look=view,
        view_names=VIEWS,
        groups=GROUPS,
        filter_names=FILTERS,
        bulk=bulk,
        **context,
    )


def _load_tickets(session: Session, view: BoardView) -> View:
    """Load the tickets of a view, or a page of the single column or lane that the query string names."""
    cursor, viewer = request.args.get("cursor"), _build_viewer()
    if view.view == "list":
        return {
            "table": list_view.load_list(
                session, view.filters, viewer, status=view.status, sort=view.sort, cursor=cursor
            )
        }
    if view.view == "lanes":
        return _load_lanes(session, view, viewer, cursor)
    status = request.args.get("column")
    column = [columns.load_column(session, status, view.filters, viewer, cursor)] if status else None
    return {"columns": column or columns.load_columns(session, view.filters, viewer)}


def _load_lanes(session: Session, view: BoardView, viewer: Viewer, cursor: str | None) -> View:
    if view.group:
        return _load_swim_lanes(session, view)
    if view.lane:
        lane = lanes.load_lane(session, view.lane, view.filters, viewer, cursor)
        return {"lanes": [lane], "counts": lanes.count_lanes(session, view.filters, viewer.limits.attempts)}
    every = lanes.load_lanes(session, view.filters, viewer)
    return {"lanes": every, "counts": {lane.name: lane.count for lane in every}}


def _load_swim_lanes(session: Session, view: BoardView) -> View:
    """Load the lanes of a group, with the labels that its projects have."""
    labels = {each.slug: label_project(each) for each in projects.list_projects(session)}
    lane_list = swim_lanes.load_lanes(session, view.group, view.filters, _build_viewer())
    return {"swim_lanes": lane_list, "labels": labels}


# --------------------------------------------------------------------------------------------------- parts of the page


@blueprint.get("/board/column/<status>")
def show_column(status: str) -> str:
    view, size = _read_board_view(), _read_page_size(columns.PAGE_SIZE, columns.FIRST_PAGE_SIZE)
    with reading(auth.get_instance().engine) as session:
        column = columns.load_column(session, status, view.filters, _build_viewer(), request.args.get("cursor"), size)
    return layout.render_part("board/_column_body", column=column, look=view)


@blueprint.get("/board/lane/<name>")
def show_lane(name: str) -> str:
    view, cursor = _read_board_view(), request.args.get("cursor")
    size = _read_page_size(columns.PAGE_SIZE if cursor or view.lane else lanes.PAGE_SIZE, lanes.PAGE_SIZE)
    with reading(auth.get_instance().engine) as session:
        lane = lanes.load_lane(session, name, view.filters, _build_viewer(), cursor, size)
    return layout.render_part("board/_lane_body", lane=lane, look=view)


@blueprint.get("/board/swim-lanes")
def show_swim_lanes() -> str:
    view = _read_board_view()
    if not view.group:
        raise Invalid("Swim lanes need a group.", field="group", choices=list(swim_lanes.GROUPS))
    with reading(auth.get_instance().engine) as session:
        context = _load_swim_lanes(session, view)
    return layout.render_part("board/_swim_lanes", look=view, **context)


@blueprint.get("/board/list")
def show_list() -> str:
    view, size = _read_board_view(), _read_page_size(list_view.PAGE_SIZE, list_view.PAGE_SIZE)
    with reading(auth.get_instance().engine) as session:
        table = list_view.load_list(
            session,
            view.filters,
            _build_viewer(),
            status=view.status,
            sort=view.sort,
            cursor=request.args.get("cursor"),
            size=size,
        )
    return layout.render_part("board/_list_body", table=table, look=view)


def _read_page_size(page: int, least: int) -> int:
    """Read the number of tickets to render, by default a page, at least as many as the board opens with."""
    return min(max(request.args.get("limit", page, int), least), MAX_PAGES * page)


@blueprint.get("/board/notes")
def show_notes() -> str:
    """Render the flashed notes for a board that is not reloaded after a form."""
    return layout.render_notes()


def redirect_to_board(query: str) -> Response:
    """Redirect to the board with its query string, or a script to the notes alone."""
    if layout.is_script_request():
        return redirect("/board/notes", 303)
    return redirect(f"/board?{saved_views.normalize_query(query)}", 303)


# --------------------------------------------------------------------------------------------------------- saved views


def _list_saved_views(session: Session, query: str) -> list[View]:
    return [
        {"label": saved_view.name, "href": f"/board?{saved_view.query}", "current": saved_view.query == query}
        for saved_view in saved_views.list_views(session, auth.get_actor().name)
    ]


@blueprint.post("/board/views")
def save_view() -> Response:
    name, query = request.form.get("name", ""), request.form.get("query", "")
    return _change_views(lambda session: saved_views.save_view(session, name, query, auth.get_actor()), query)


@blueprint.post("/board/views/delete")
def delete_view() -> Response:
    name = request.form.get("name", "")
    return _change_views(lambda session: saved_views.delete_view(session, name, auth.get_actor()), "")


def _change_views(change: Callable[[Session], object], query: str) -> Response:
    try:
        with writing(auth.get_instance().engine) as session:
            change(session)
    except DomainError as refusal:
        layout.flash_note(refusal.message, "bad")
    return redirect(f"/board?{saved_views.normalize_query(query)}", 303)


# ----------------------------------------------------------------------------------------------------------- quick add


@blueprint.post("/board/quick")
def quick_add() -> Response:
    """Create a ticket from a title and the board's filters, so that it appears in the current view."""
    query = request.form.get("query", "")
    fields = {"title": request.form.get("title", ""), "status": request.form.get("status", "inbox")}
    body = NewTicket.model_validate(fields | saved_views.build_defaults(query))
    with writing(auth.get_instance().engine) as session:
        ticket = transitions.create_ticket(session, body, auth.get_actor())
    if not layout.is_script_request():  # a page that is not reloaded shows the new ticket itself
        layout.flash_note(f"{ticket.identifier} was added.")
    return redirect_to_board(query)
