"""The overview page and the health page."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

import auth
from auth import Right
from database import Session, reading, writing
from models import now
from tickets.board import absence, overview
from tickets.board.columns import Viewer
from tickets.dispatch.policy import DispatchLimits
from tickets.operations import canary_status, store_stats
from tickets.shared.paging import MAX_COUNT
from web.site import layout, metrics, verdict

blueprint = Blueprint("pages", __name__)
layout.add_nav_item("overview", "/", "layout-dashboard", "Overview", phone=True, go="o")
layout.add_nav_item("board", "/board", "square-kanban", "Board", phone=True, go="b")
layout.add_nav_item("health", "/health", "heart-pulse", "Health", "Machine", go="h")


# ----------------------------------------------------------------------------------------------------------- overview


@blueprint.get("/")
def show_overview() -> str:
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        first = overview.load_first_steps(session)
        context = {} if first else _load_overview(session)
        away = None if first else absence.load_absence(session, auth.get_actor().name, now())
    context |= {"first": first, "away": away}
    return layout.render_page("operations/overview.html", "overview", [], **context)


@blueprint.get("/overview/part/body")
def show_overview_part() -> str:
    with reading(auth.get_instance().engine) as session:
        context = _load_overview(session)
    return layout.render_part("operations/_overview", **context)


@blueprint.post("/overview/away/dismiss")
@auth.allow(Right.OPERATOR, Right.VIEWER)
def dismiss_absence() -> Response:
    """Hide what happened while this person was away."""
    with writing(auth.get_instance().engine) as session:
        absence.dismiss_absence(session, auth.get_actor().name, now())
    return redirect("/", 303)


def _load_overview(session: Session) -> dict[str, Any]:
    return {
        "health": verdict.load_verdict(session),
        "canary": canary_status.load_last_journey(session),
        "needs_you": overview.list_decisions(session, _build_viewer()),
        "needs_count": _count_needs(session),
        "live": overview.list_at_work(session),
        "plots_data": [overview.plot_finished(session), overview.plot_cycle_time(session), overview.plot_cost(session)],
        "tasks": overview.list_tasks(session),
        "incidents": overview.list_incidents(session),
        "counts": overview.count_by_state(session),
    }


def _build_viewer() -> Viewer:
    return Viewer(auth.get_actor(), DispatchLimits.from_settings(auth.get_instance().settings))


def _count_needs(session: Session) -> str:
    """Count what waits for a person, as the board counts its columns."""
    count = overview.count_needs(session)
    return str(count) if count < MAX_COUNT else f"{MAX_COUNT - 1}+"


# ------------------------------------------------------------------------------------------------------------- health


@blueprint.get("/health")
def show_health() -> str:
    settings = auth.get_instance().settings
    with reading(auth.get_instance().engine) as session:
        report, measurement = verdict.load_verdict(session), store_stats.load_last(session)
    limits = {
        "events": settings.sse_max_total_clients,
        "tails": settings.sse_max_tail_clients,
        "sockets": settings.ws_max_clients,
    }
    context = {"report": report, "measured": measurement, "threads": settings.threads, "limits": limits}
    return layout.render_page(
        "operations/health.html", "health", [("Health", None)], workers=metrics.list_workers(), **context
    )


@blueprint.get("/health/part/report")
def show_health_report() -> str:
    with reading(auth.get_instance().engine) as session:
        return layout.render_part("operations/_health", report=verdict.load_verdict(session))


@blueprint.get("/health/part/pill")
def show_health_pill() -> str:
    with reading(auth.get_instance().engine) as session:
        return layout.render_part("operations/_pill", health=verdict.load_verdict(session))
