"""The replay of a ticket's events: a ruler over its log, and the ticket as it was at the place that was chosen."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, request

import auth
from database import Session, reading
from models import Ticket
from tickets.board import replay
from tickets.shared import events, paging
from tickets.shared.lookup import get
from web.site import event_sentences, layout, markdown, template_filters

blueprint = Blueprint("replay", __name__)

View = dict[str, Any]
SHOWN = 60


@blueprint.get("/ticket/<reference>/part/replay")
def show_then(reference: str) -> str:
    """The ticket as it was after event `at`, as a fragment."""
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
        return layout.part("_then", ticket=ticket, then=_then(session, ticket, _asked() or ticket.event_seq))


def tab(session: Session, ticket: Ticket) -> View:
    """What the Events tab shows: the ruler, the moment that its address names, and a page of the log."""
    asked = _asked()
    return {
        "ruler": {"last": ticket.event_seq, "marks": replay.marks(session, ticket.id), "at": asked},
        "then": _then(session, ticket, asked) if asked else None,
        **listed(session, ticket),
    }


def listed(session: Session, ticket: Ticket) -> View:
    """A page of the log, newest first."""
    before = paging.number(request.args.get("before"))
    rows = events.latest(session, ticket.id, before, SHOWN)
    older = f"/ticket/{ticket.identifier}?tab=events&before={rows[-1].seq}" if len(rows) == SHOWN else None
    return {"events": [_row(row) for row in rows], "next_href": older, "pruned": ticket.pruned_seq}


def _row(row: events.Logged) -> View:
    return {
        "seq": row.seq,
        "event_type": row.event_type,
        "actor": row.actor,
        "at": row.ts,
        "summary": template_filters.told(row.payload),
        "payload": json.dumps(row.payload, ensure_ascii=False, indent=2),
    }


def _asked() -> int | None:
    return paging.number(request.args.get("at") or None)


def _then(session: Session, ticket: Ticket, seq: int) -> View:
    then = replay.at(session, ticket, seq)
    entries = markdown.drawn(replay.said(session, ticket, then))
    told = event_sentences.tell(then.event) if then.event else None
    return {"then": then, "told": told, "entries": entries, "last": ticket.event_seq}
