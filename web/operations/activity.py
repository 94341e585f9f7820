"""Activity: what people and the machinery did, as sentences, newest first; narrowed to a kind, an actor or a ticket."""

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
from tickets.shared.events import Wanted
from tickets.team import agents
from web.site import event_sentences, forms, layout

blueprint = Blueprint("activity", __name__)
layout.nav("activity", "/activity", "activity", "Activity", phone=True, go="a")

PAGE = 50


@blueprint.get("/activity")
def show() -> str:
    with reading(auth.instance().engine) as session:
        layout.around(session)
        people = [member.name for member in agents.members(session)]
        context = _feed(session)
    given = context["given"]
    groups = [("", "Everything"), *((key, label) for key, (label, _) in event_sentences.GROUPS.items())]
    chips = [(label, f"/activity?{_query(given, kind=key)}", key == given["kind"]) for key, label in groups]
    return layout.page("activity.html", "activity", [("Activity", None)], chips=chips, people=people, **context)


@blueprint.get("/activity/part/feed")
def show_part() -> str:
    with reading(auth.instance().engine) as session:
        return layout.part("_feed", **_feed(session))


def _feed(session: Session) -> dict[str, Any]:
    given = {name: request.args.get(name, "").strip()[:80] for name in ("kind", "actor", "ticket")}
    before = paging.number(request.args.get("before"))
    ticket_id, problem = _ticket(session, given["ticket"])
    kinds = event_sentences.GROUPS[given["kind"]][1] if given["kind"] in event_sentences.GROUPS else ()
    wanted = Wanted(given["actor"], ticket_id, kinds)
    found = events.Feed([], None) if problem else events.feed(session, wanted, before, PAGE)
    told = [event_sentences.tell(event) for event in found.events]
    return {
        "given": given,
        "problem": problem,
        "days": [(day, _named(day), list(lines)) for day, lines in groupby(told, key=_day)],
        "query": _query(given),
        "is_newest": before is None,
        "older_href": f"/activity?{_query(given, before=str(found.older))}" if found.older else None,
    }


def _day(line: event_sentences.Told) -> date:
    """On which day it was, in the zone of the settings."""
    return datetime.fromisoformat(line.at).astimezone(auth.instance().settings.zone).date()


def _named(day: date) -> str:
    today = now().astimezone(auth.instance().settings.zone).date()
    near = {today: "Today", today - timedelta(days=1): "Yesterday"}
    return near.get(day) or f"{day:%A}, {day.day} {day:%B %Y}"


def _query(given: dict[str, str], **more: str) -> str:
    """What is given, with something else in its place, as it stands in an address."""
    return forms.query_string(MultiDict({name: value for name, value in (given | more).items() if value}))


def _ticket(session: Session, name: str) -> tuple[int | None, str | None]:
    """The ticket that the feed is narrowed to, or why there is none."""
    try:
        return (lookup.get(session, name).id if name else None), None
    except DomainError as refused:
        return None, refused.message
