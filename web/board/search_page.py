"""The search page."""

from __future__ import annotations

from flask import Blueprint, request

import auth
from database import reading
from tickets.board import search
from web.site import layout

blueprint = Blueprint("search_page", __name__)


@blueprint.get("/search")
def show() -> str:
    words = request.args.get("q", "").strip()[:200]
    kind = request.args.get("kind")
    with reading(auth.get_instance().engine) as session:
        hits = search.search_all(session, words, kind if kind in search.KINDS else None, 50)
    kinds = [
        ("", "Everything"),
        ("ticket", "Tickets"),
        ("comment", "Comments"),
        ("message", "Agents"),
        ("evidence", "Evidence"),
    ]
    return layout.render_page(
        "board/search.html", "search", [("Search", None)], words=words, kind=kind or "", kinds=kinds, hits=hits
    )
