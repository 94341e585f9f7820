"""Full-text search for programs and for the command palette."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tickets.board import search
from tickets.lifecycle.schemas import FoundJson
from tickets.shared.inputs import Body, Line
from web.api.page import Page
from web.api.resource import Call, Resource

blueprint = Resource("search", __name__)


class SearchQuery(Body):
    """Words that a result contains all of, and the kind of results, without which all kinds are searched."""

    q: Line
    kind: Literal["ticket", "comment", "message", "evidence"] | None = None
    limit: int = Field(search.PAGE_SIZE, ge=1, le=100)


@blueprint.reads("/search")
def find(call: Call, query: SearchQuery) -> Page[FoundJson]:
    """Search tickets, comments, messages of agents, and evidence."""
    return {
        "items": [FoundJson.read(hit) for hit in search.search_all(call.session, query.q, query.kind, query.limit)],
        "next": None,
    }
