"""The activity page: events as sentences, newest first, filtered by kind, actor or ticket."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from flask import Blueprint, request
from werkzeug.datastructures import MultiDict

import auth
from database import Session, reading
from models import now
from tickets.shared import events, lookup, paging
from tickets.shared.errors import DomainError
from tickets.shared.events import EventFilter
from tickets.team import agents
from web.site import event_sentences, forms, layout

blueprint = Blueprint("activity", __name__)
layout.add_nav_item("activity", "/activity", "activity", "Activity", phone=True, go="a")

PAGE_SIZE = 50


@blueprint.get("/activity")
def show() -> str:
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        people = [member.name for member in agents.list_members(session)]
        context = _load_feed(session)
    filters = context["given"]
    groups = [("", "Everything"), *((key, label) for key, (label, _) in event_sentences.GROUPS.items())]
    chips = [(label, f"/activity?{_build_query(filters, kind=key)}", key == filters["kind"]) for key, label in groups]
    return layout.render_page(
        "operations/activity.html", "activity", [("Activity", None)], chips=chips, people=people, **context
    )


@blueprint.get("/activity/part/feed")
def show_part() -> str:
    with reading(auth.get_instance().engine) as session:
        return layout.render_part("operations/_feed", **_load_feed(session))


def _load_feed(session: Session) -> dict[str, Any]:
    filters = {name: request.args.get(name, "").strip()[:80] for name in ("kind", "actor", "ticket")}
    before = paging.parse_number(request.args.get("before"))
    ticket_id, problem = _find_ticket(session, filters["ticket"])
    kinds = event_sentences.GROUPS[filters["kind"]][1] if filters["kind"] in event_sentences.GROUPS else ()
    query = EventFilter(filters["actor"], ticket_id, kinds)
    page = events.Feed([], None) if problem else events.load_feed(session, query, before, PAGE_SIZE)
    sentences = [event_sentences.build_sentence(event) for event in page.events]
    return {
        "given": filters,
        "problem": problem,
        "days": [(day, _format_date(day), list(lines)) for day, lines in groupby(sentences, key=_local_date)],
        "query": _build_query(filters),
        "is_newest": before is None,
        "older_href": f"/activity?{_build_query(filters, before=str(page.older))}" if page.older else None,
    }


def _local_date(line: event_sentences.EventSentence) -> date:
    """Return the date of an event in the time zone of the settings."""
    return datetime.fromisoformat(line.at).astimezone(auth.get_instance().settings.zone).date()


def _format_date(day: date) -> str:
    today = now().astimezone(auth.get_instance().settings.zone).date()
    near = {today: "Today", today - timedelta(days=1): "Yesterday"}
    return near.get(day) or f"{day:%A}, {day.day} {day:%B %Y}"


def _build_query(filters: dict[str, str], **more: str) -> str:
    """Build a query string from the filters with some of them replaced."""
    return forms.build_query_string(MultiDict({name: value for name, value in (filters | more).items() if value}))


def _find_ticket(session: Session, name: str) -> tuple[int | None, str | None]:
    """Return the id of the ticket to filter by, and the error message if it does not exist."""
    try:
        return (lookup.get_ticket(session, name).id if name else None), None
    except DomainError as refusal:
        return None, refusal.message
