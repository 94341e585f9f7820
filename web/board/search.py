"""The one search, for programs and for the palette."""

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
    """The words to find, all of them; in everything unless one kind is named."""

    q: Line
    kind: Literal["ticket", "comment", "message", "evidence"] | None = None
    limit: int = Field(search.PAGE_SIZE, ge=1, le=100)


@blueprint.reads("/search")
def find(call: Call, query: SearchQuery) -> Page[FoundJson]:
    """Find tickets, comments, what agents said, and evidence by their words."""
    return {
        "items": [FoundJson.read(hit) for hit in search.search_all(call.session, query.q, query.kind, query.limit)],
        "next": None,
    }
