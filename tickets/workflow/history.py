"""Where a ticket went and who sent it there: every move and every change of its phases, with actor, reason and run."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from models import Profile, Run, Ticket, TicketEvent
from tickets.shared import events

from . import ticket_phases

View = dict[str, Any]
REASONS = ("reason", "note", "waive", "body", "next_action", "choice")
SHOWN = 50


def log(session: Session, ticket: Ticket, before: int | None = None) -> list[View]:
    """A page of the routing log, newest first; page on with `before` = the last seq seen."""
    return [_entry(event) for event in events.own(session, ticket.id, ticket_phases.HOLDING, before, SHOWN)]


def _entry(event: TicketEvent) -> View:
    said = event.payload_json
    return {
        "seq": event.seq,
        "at": event.ts,
        "what": said.get("move") or event.event_type.removeprefix("ticket_").replace("_", " "),
        "from": said.get("from"),
        "to": said.get("to") or said.get("status"),
        "actor": event.actor,
        "owner": said.get("owner"),
        "phase": said.get("phase"),
        "reason": next((str(said[name]) for name in REASONS if said.get(name)), None),
        "run": event.run_id,
    }


def console_line(session: Session, run: Run) -> str:
    """Who worked in the pane, with what: agent · program/provider/model."""
    profile = session.get(Profile, run.profile) if run.profile else None
    parts = (run.program, profile.provider if profile else None, profile.model if profile else None)
    return f"{run.agent} · {'/'.join(part or 'default' for part in parts)}"
