"""Tickets that need a person now, for programs and for browser notifications."""

from __future__ import annotations

from typing_extensions import TypedDict

from models import format_timestamp
from tickets.board import overview
from web.api.resource import Call, Resource
from web.api.schemas import Page

blueprint = Resource("needs", __name__)


class NeedJson(TypedDict):
    ticket: str
    title: str
    status: str
    line: str
    since: str


@blueprint.reads("/needs-you")
def list_needs(call: Call) -> Page[NeedJson]:
    """List the tickets that wait for a person, the longest waiting first, a hundred at most."""
    items = overview.list_needs(call.session, overview.MAX_NEEDS)
    return {"items": [_build_need_json(item) for item in items], "next": None}


def _build_need_json(item: overview.View) -> NeedJson:
    return {
        "ticket": item["identifier"],
        "title": item["title"],
        "status": item["status"],
        "line": item["line"],
        "since": format_timestamp(item["since"]),
    }
