"""The wall of running agents: their last lines, which the page's event stream continues, and a way to interrupt each."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

import auth
from auth import Right
from database import Session, reading
from tickets.board import live_agents
from web.site import layout

blueprint = Blueprint("live_agents_page", __name__)
layout.add_nav_item("live-agents", "/agents/live", "bot", "Live agents", go="w")


@blueprint.get("/agents/live")
def show() -> str:
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        context = _load_agents(session)
    return layout.render_page("runs/live_agents.html", "live-agents", [("Live agents", None)], **context)


@blueprint.get("/agents/live/part")
def show_part() -> str:
    with reading(auth.get_instance().engine) as session:
        context = _load_agents(session)
    return layout.render_part("runs/_live_agents", **context)


def _load_agents(session: Session) -> dict[str, Any]:
    can_interrupt = auth.get_caller().right is Right.OPERATOR
    return {"live": live_agents.list_live_agents(session), "can_interrupt": can_interrupt}
