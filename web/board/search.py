"""Full-text search for programs and for the command palette."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from models import format_timestamp
from tickets.board import search
from tickets.shared.inputs import Body, Line
from web.api.resource import Call, Resource
from web.api.schemas import Page

blueprint = Resource("search", __name__)


class SearchQuery(Body):
    """Words that a result contains all of, and the kind of results, without which all kinds are searched."""

    q: Line
    kind: Literal["ticket", "comment", "message", "evidence"] | None = None
    limit: int = Field(search.PAGE_SIZE, ge=1, le=100)


class FoundJson(TypedDict):
    kind: str
    ticket: str
    title: str
    status: str
    by: str
    at: str
    snippet: str
    href: str


@blueprint.reads("/search")
def find(call: Call, query: SearchQuery) -> Page[FoundJson]:
    """Search tickets, comments, messages of agents, and evidence."""
    return {
        "items": [_build_hit_json(hit) for hit in search.search_all(call.session, query.q, query.kind, query.limit)],
        "next": None,
    }


def _build_hit_json(hit: search.SearchHit) -> FoundJson:
    return {
        "kind": hit.kind,
        "ticket": hit.identifier,
        "title": hit.title,
        "status": hit.status,
        "by": hit.by,
        "at": format_timestamp(hit.at),
        "snippet": hit.snippet,
        "href": hit.href,
    }
