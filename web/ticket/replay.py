"""The Events tab: a timeline of the ticket's log, and the state of the ticket at a chosen event."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, request

import auth
from database import Session, reading
from models import Ticket
from tickets.board import replay
from tickets.shared import events, paging
from tickets.shared.lookup import get_ticket
from web.site import event_sentences, layout, markdown, template_filters

blueprint = Blueprint("replay", __name__)

View = dict[str, Any]
PAGE_SIZE = 60


@blueprint.get("/ticket/<reference>/part/replay")
def show_then(reference: str) -> str:
    """Render the state of the ticket after event `at` as a fragment."""
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        return layout.render_part(
            "ticket/_replay_snapshot",
            ticket=ticket,
            then=_load_position(session, ticket, _read_position() or ticket.event_seq),
        )


def load_events_tab(session: Session, ticket: Ticket) -> View:
    """Load the Events tab: the timeline, the state at the event in the query string, and a page of the log."""
    position = _read_position()
    return {
        "ruler": {"last": ticket.event_seq, "marks": replay.list_marks(session, ticket.id), "at": position},
        "then": _load_position(session, ticket, position) if position else None,
        **load_log_page(session, ticket),
    }


def load_log_page(session: Session, ticket: Ticket) -> View:
    """Load a page of the log, newest first."""
    before = paging.parse_number(request.args.get("before"))
    rows = events.list_latest(session, ticket.id, before, PAGE_SIZE)
    older = f"/ticket/{ticket.identifier}?tab=events&before={rows[-1].seq}" if len(rows) == PAGE_SIZE else None
    return {"events": [_build_row(row) for row in rows], "next_href": older, "pruned": ticket.pruned_seq}


def _build_row(row: events.LogEntry) -> View:
    return {
        "seq": row.seq,
        "event_type": row.event_type,
        "actor": row.actor,
        "at": row.ts,
        "summary": template_filters.summarize_payload(row.payload),
        "payload": json.dumps(row.payload, ensure_ascii=False, indent=2),
    }


def _read_position() -> int | None:
    return paging.parse_number(request.args.get("at") or None)


def _load_position(session: Session, ticket: Ticket, seq: int) -> View:
    then = replay.load_state(session, ticket, seq)
    entries = markdown.render_entries(replay.build_conversation(session, ticket, then))
    sentence = event_sentences.build_sentence(then.event) if then.event else None
    return {"then": then, "told": sentence, "entries": entries, "last": ticket.event_seq}
