"""What needs a person now, for programs and for the notifications of a browser."""

from __future__ import annotations

from tickets.board import overview
from tickets.lifecycle.schemas import NeedJson
from web.api.page import Page
from web.api.resource import Call, Resource

blueprint = Resource("needs", __name__)


@blueprint.reads("/needs-you")
def list_needs(call: Call) -> Page[NeedJson]:
    """List what waits for a person, the longest waiting first, a hundred at most."""
    items = overview.list_needs(call.session, overview.MAX_NEEDS)
    return {"items": [NeedJson.model_validate(item) for item in items], "next": None}
