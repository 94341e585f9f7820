"""Overview and health."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

import auth
from database import Session, reading
from tickets.board import overview
from tickets.operations import store_stats
from web.site import layout, metrics

blueprint = Blueprint("pages", __name__)
layout.nav("overview", "/", "layout-dashboard", "Overview", phone=True, go="o")
layout.nav("board", "/board", "square-kanban", "Board", phone=True, go="b")
layout.nav("health", "/health", "heart-pulse", "Health", "Machine", go="h")


# ----------------------------------------------------------------------------------------------------------- overview


@blueprint.get("/")
def show_overview() -> str:
    with reading(auth.instance().engine) as session:
        layout.around(session)
        shown = _overview(session)
    return layout.page("overview.html", "overview", [], **shown)


@blueprint.get("/overview/part/body")
def show_overview_part() -> str:
    with reading(auth.instance().engine) as session:
        shown = _overview(session)
    return layout.part("_overview", **shown)


def _overview(session: Session) -> dict[str, Any]:
    return {
        "health": metrics.verdict(session),
        "needs_you": overview.needs_you(session),
        "live": overview.at_work(session),
        "plots_data": [overview.finished(session), overview.took(session), overview.spent(session)],
        "tasks": overview.tasks(session),
        "incidents": overview.incidents(session),
        "counts": overview.counts(session),
    }


# ------------------------------------------------------------------------------------------------------------- health


@blueprint.get("/health")
def show_health() -> str:
    settings = auth.instance().settings
    with reading(auth.instance().engine) as session:
        report, measured = metrics.verdict(session), store_stats.last(session)
    limits = {
        "events": settings.sse_max_total_clients,
        "tails": settings.sse_max_tail_clients,
        "sockets": settings.ws_max_clients,
    }
    context = {"report": report, "measured": measured, "threads": settings.threads, "limits": limits}
    return layout.page("health.html", "health", [("Health", None)], workers=metrics.workers(), **context)
