"""Quarantine of what runs send after they lost their claim: stored for operators with a size limit, never applied."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Integer, bindparam, select
from sqlalchemy.orm import Session

from models import Quarantined, Run, RunState
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ClaimLost
from tickets.shared.lookup import get_run

MAX_CHARACTERS = 64_000


def store_payload(session: Session, run: Run, kind: str, reason: str, payload: Any) -> None:
    """Store the payload of a run for operators, once however often it is sent."""
    text = json.dumps(payload, ensure_ascii=False)[:MAX_CHARACTERS]
    if _is_stored(session, run, kind, text):
        return
    session.add(Quarantined(ticket_id=run.ticket_id, run_id=run.id, kind=kind, reason=reason, payload=text))
    events.append(
        session,
        run.ticket_id,
        "write_quarantined",
        {"run": run.id, "kind": kind, "reason": reason},
        Actor.system(),
        run.id,
    )


def _is_stored(session: Session, run: Run, kind: str, text: str) -> bool:
    own = (Quarantined.ticket_id == run.ticket_id, Quarantined.run_id == run.id, Quarantined.kind == kind)
    return session.scalar(select(Quarantined.id).where(*own, Quarantined.payload == text).limit(1)) is not None


def refuse_late(session: Session, run_id: int, kind: str, payload: Any) -> ClaimLost | None:
    """Quarantine the payload of an ended run, and return the error to raise after the commit (None for a live run)."""
    run = get_run(session, run_id)
    if run.state is not RunState.ENDED:
        return None
    store_payload(session, run, kind, "the run has already ended", payload)
    return ClaimLost(run=run_id)


OF_TICKET = (
    select(Quarantined)
    .where(Quarantined.ticket_id == bindparam("ticket"))
    .order_by(Quarantined.id.desc())
    .limit(bindparam("limit", type_=Integer))
)


def list_quarantined(session: Session, ticket_id: int, limit: int = 50, run_id: int | None = None) -> list[Quarantined]:
    """List the quarantined payloads of a ticket, or of one of its runs, newest first."""
    query = OF_TICKET.where(Quarantined.run_id == run_id) if run_id else OF_TICKET
    return list(session.scalars(query, {"ticket": ticket_id, "limit": limit}))
