"""Menus that set one property of tickets at the choice: state, priority, owner, tags, or the time until which they are parked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, request

import auth
from database import Session, reading
from models import Ticket, now
from tickets.board import columns
from tickets.board.columns import Card, Viewer
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import bulk
from tickets.shared import tags
from tickets.shared.errors import Invalid, NotFound
from tickets.shared.lookup import get_ticket
from tickets.shared.ticket_fields import BY_NAME
from tickets.team import agents
from web.site import layout

blueprint = Blueprint("property_menu", __name__)

Option = dict[str, Any]
TITLES = {"state": "State", "priority": "Priority", "assigned_to": "Owner", "tag": "Tags", "park": "Park until"}
MORNING = time(9)


@blueprint.get("/board/property/<name>")
@auth.allow(auth.Right.OPERATOR)
def show(name: str) -> str:
    """Render the menu of one property for the tickets of the query string."""
    if name not in TITLES:
        raise NotFound("Unknown property.", property=name[:40])
    with reading(auth.get_instance().engine) as session:
        tickets = [get_ticket(session, reference) for reference in _read_references()]
        viewer = Viewer(auth.get_actor(), DispatchLimits.from_settings(auth.get_instance().settings))
        cards_by_id = columns.build_cards(session, tickets, viewer)
        options = _list_options(session, name, [cards_by_id[ticket.id] for ticket in tickets])
    return layout.render_part(
        "board/_property_menu", property_name=name, title=TITLES[name], tickets=_list_names(tickets), options=options
    )


def _read_references() -> list[str]:
    references = [name for name in request.args.get("tickets", "").split(",") if name]
    if not references or len(references) > bulk.MAX_TICKETS:
        raise Invalid(f"Select between one and {bulk.MAX_TICKETS} tickets.", field="tickets")
    return references


def _list_names(tickets: Sequence[Ticket]) -> list[str]:
    return [ticket.identifier for ticket in tickets]


def _list_options(session: Session, name: str, cards: list[Card]) -> list[Option]:
    match name:
        case "state":
            return _list_moves(cards)
        case "priority":
            return [
                {"name": name, "value": value, "label": label, "on": all(card.priority == value for card in cards)}
                for value, label in BY_NAME["priority"].labels.items()
            ]
        case "assigned_to":
            members = [(member.name, member.title or member.name) for member in agents.list_members(session)]
            return [
                {"name": name, "value": value, "label": label, "on": all((card.owner or "") == value for card in cards)}
                for value, label in [*members, ("", "Nobody")]
            ]
        case "tag":
            return [_build_tag_option(tag, cards) for tag in tags.list_tags(session)]
    return [{"name": "wake_at", "value": value, "label": label} for value, label in _list_park_times()]


def _list_moves(cards: list[Card]) -> list[Option]:
    """List the moves that all of the tickets can make. One that needs input has a form of its own."""
    common = set.intersection(*({button.move for button in card.moves} for card in cards))
    asking = {button.move for card in cards for button in card.moves if button.fields}
    names = ",".join(card.identifier for card in cards)
    single = f"/ticket/{cards[0].identifier}/move/" if len(cards) == 1 else None
    return [
        {
            "name": "move",
            "value": button.move,
            "label": button.label,
            "state": button.to,
            "danger": button.danger,
            "href": (f"{single}{button.move}" if single else f"/board/bulk?move={button.move}&tickets={names}")
            if button.move in asking
            else None,
        }
        for button in cards[0].moves
        if button.move in common
    ]


def _build_tag_option(tag: str, cards: list[Card]) -> Option:
    has_tag = all(tag in [label.name for label in card.tags] for card in cards)
    return {"name": "untag" if has_tag else "tag", "value": tag, "label": tag, "on": has_tag}


def _list_park_times() -> list[tuple[str, str]]:
    """List the usual times to park until, as local times of the settings' time zone."""
    moment = now().astimezone(ZoneInfo(auth.get_instance().settings.timezone))
    tomorrow = datetime.combine(moment.date() + timedelta(days=1), MORNING)
    monday = datetime.combine(moment.date() + timedelta(days=7 - moment.weekday()), MORNING)
    in_an_hour = moment.replace(tzinfo=None, second=0, microsecond=0) + timedelta(hours=1)
    choices = [(in_an_hour, "In an hour"), (tomorrow, "Tomorrow morning"), (monday, "Next Monday")]
    return [(at.isoformat(timespec="minutes"), f"{label} ({at:%a %H:%M})") for at, label in choices]
