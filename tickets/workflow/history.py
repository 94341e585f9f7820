"""History of a ticket: every move and every change of its phases, with actor, reason and run."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from models import Profile, Run, Ticket, TicketEvent
from tickets.shared import events

from . import ticket_phases

View = dict[str, Any]
REASON_KEYS = ("reason", "note", "waive", "body", "next_action", "choice")
PAGE_SIZE = 50


def list_history(session: Session, ticket: Ticket, before: int | None = None) -> list[View]:
    """List a page of the history, newest first (next page: `before` = the last seq seen)."""
    return [
        _build_entry(event)
        for event in events.list_own(session, ticket.id, ticket_phases.HOLDER_EVENTS, before, PAGE_SIZE)
    ]


def _build_entry(event: TicketEvent) -> View:
    payload = event.payload_json
    return {
        "seq": event.seq,
        "at": event.ts,
        "what": payload.get("move") or event.event_type.removeprefix("ticket_").replace("_", " "),
        "from": payload.get("from"),
        "to": payload.get("to") or payload.get("status"),
        "actor": event.actor,
        "owner": payload.get("owner"),
        "phase": payload.get("phase"),
        "reason": next((str(payload[name]) for name in REASON_KEYS if payload.get(name)), None),
        "run": event.run_id,
    }


def format_console_line(session: Session, run: Run) -> str:
    """Format agent and program of a run: `agent · program/provider/model`."""
    profile = session.get(Profile, run.profile) if run.profile else None
    parts = (run.program, profile.provider if profile else None, profile.model if profile else None)
    return f"{run.agent} · {'/'.join(part or 'default' for part in parts)}"
