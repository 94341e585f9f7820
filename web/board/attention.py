"""Tickets that need a person now, for programs and for browser notifications."""

from __future__ import annotations

from tickets.board import overview
from tickets.lifecycle.schemas import NeedJson
from web.api.page import Page
from web.api.resource import Call, Resource

blueprint = Resource("needs", __name__)


@blueprint.reads("/needs-you")
def list_needs(call: Call) -> Page[NeedJson]:
    """List the tickets that wait for a person, the longest waiting first, a hundred at most."""
    items = overview.list_needs(call.session, overview.MAX_NEEDS)
    return {"items": [NeedJson.model_validate(item) for item in items], "next": None}
