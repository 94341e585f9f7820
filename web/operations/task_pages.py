"""Pages of incidents and logs, whose forms work without JavaScript."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from auth import Right
from database import Session, reading, writing
from models import IncidentState
from redaction import SHAPES
from tickets.operations import inbox_items, incident_tracking, incidents
from tickets.schedule import tasks
from tickets.shared import events, paging
from tickets.shared.errors import DomainError, NotFound
from tickets.shared.lookup import get_ticket
from web.site import forms, layout
from web.stream import log_tail

blueprint = Blueprint("upkeep_pages", __name__)
layout.add_nav_item("incidents", "/incidents", "siren", "Incidents", "Machine", go="i", after="health")
layout.add_nav_item("logs", "/logs", "scroll-text", "Logs", "Machine", go="l")

View = dict[str, Any]
LOGS = {"scheduler": "scheduler.log", "web": "web.log"}
LOG_LINES = 400
PAGE_SIZE = 100
RUN_EVENT_PREFIXES = ("agent.", "run.")
"""Prefixes of the types of detailed events from workers, which are shown only if the filter names such a type."""


# ---------------------------------------------------------------------------------------------------------- incidents


@blueprint.get("/incidents")
def show_incidents() -> str:
    with reading(auth.get_instance().engine) as session:
        groups = [(state.value, incidents.list_incidents(session, state)) for state in IncidentState]
        ids = [incident.id for _, incident_list in groups for incident in incident_list]
        items = inbox_items.load_newest_items(session, ids)
    context = {"groups": groups, "items": items, "levels": len(incident_tracking.ESCALATION_TIMES)}
    return layout.render_page("operations/incidents.html", "incidents", [("Incidents", None)], **context)


@blueprint.post("/incidents/<number:incident_id>/<any(ack, close):order>")
def order_incident(incident_id: int, order: str) -> Response:
    try:
        with writing(auth.get_instance().engine) as session:
            if order == "ack":
                incidents.acknowledge_incident(session, incident_id, auth.get_actor())
            else:
                incidents.close_incident(session, incident_id, request.form.get("evidence", ""), auth.get_actor())
    except DomainError as refusal:
        layout.flash_note(f"{refusal.message[:1].upper()}{refusal.message[1:]}.".replace("..", "."), "bad")
    else:
        layout.flash_note("The incident is acknowledged." if order == "ack" else "The incident is closed.")
    return redirect("/incidents", 303)


# --------------------------------------------------------------------------------------------------------------- logs


@blueprint.get("/logs")
@auth.allow(Right.OPERATOR)
def show_logs() -> str:
    show = request.args.get("show", "events")
    context: View = {"show": show, "logs": list(LOGS)}
    with reading(auth.get_instance().engine) as session:
        if show in LOGS:
            context |= {"file": f"logs/{LOGS[show]}", "text": _read_last_lines(LOGS[show])}
        elif show == "heartbeats":
            context["beats"] = sorted(tasks.load_heartbeats(session).items())
        elif show == "events":
            context |= _load_events(session)
        else:
            raise NotFound("Unknown log.", log=show[:40])
    return layout.render_page("operations/logs.html", "logs", [("Logs", None)], **context)


def _load_events(session: Session) -> View:
    filters = {name: request.args.get(name, "").strip()[:80] for name in ("kind", "actor", "ticket")}
    ticket_id = get_ticket(session, filters["ticket"]).id if filters["ticket"] else None
    kinds = (filters["kind"],) if filters["kind"] else ()
    query = events.EventFilter(
        filters["actor"], ticket_id, kinds, reported=filters["kind"].startswith(RUN_EVENT_PREFIXES)
    )
    page = events.load_feed(session, query, paging.parse_number(request.args.get("before")), PAGE_SIZE)
    older = request.args.copy()
    older["before"] = str(page.older)
    following = f"/logs?{forms.build_query_string(older)}" if page.older else None
    return {"filters": filters, "events": page.events, "next_href": following}


def _read_last_lines(name: str) -> str | None:
    """Read the last lines of a log file, or return None when it does not exist."""
    file = log_tail.open_regular_file(auth.get_instance().settings.logs_dir / name)
    if file is None:
        return None
    with file:
        return SHAPES.clean_text(log_tail.read_last_lines(file, LOG_LINES).decode(errors="replace"))
