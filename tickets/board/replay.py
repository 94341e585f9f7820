"""A ticket as it was: its state, owner, phase, runtime and conversation after any event of its log.

Every query reads a bounded part of the log through an index, however long the ticket's history is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from models import MessageKind, QueuedMessage, Ticket, TicketEvent, TicketMessage, TicketStatus
from tickets.conversation import timeline
from tickets.conversation.timeline import Entry
from tickets.shared import events
from tickets.shared.events import Logged
from tickets.workflow import ticket_phases

from . import ticket_detail

View = dict[str, Any]

RUNTIME = ("run_opened", "run_state_changed", "run_stop_requested", "run_ended")
MARKED = ("ticket_created", "ticket_moved", "run_opened", "run_ended")
VERDICTS = frozenset({"submit", "complete", "ask", "send_back"})
MOST_MARKS = 200
SHOWN = 20
EDITS = 50


@dataclass(frozen=True, slots=True)
class Then:
    """The ticket after event `seq`; `event` is the last one kept up to there, `before` and `after` the nearest stops."""

    seq: int
    event: Logged | None
    status: str
    owner: str | None
    phase: str | None
    runtime: str
    pruned: bool
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on the ruler: a `move` (with the state it led to), a `run` that began or ended, or a `verdict`."""

    seq: int
    kind: str
    state: str
    text: str


def at(session: Session, ticket: Ticket, seq: int) -> Then:
    """The ticket as it was after event `seq`, or its last where there are fewer."""
    seq = max(1, min(seq, ticket.event_seq))
    moved = _last(session, ticket.id, seq, ("ticket_created", "ticket_moved"))
    owner, phase = _held(session, ticket, seq)
    return Then(
        seq=seq,
        event=next(iter(events.latest(session, ticket.id, seq + 1, 1)), None),
        status=_status(moved),
        owner=owner,
        phase=phase,
        runtime=_runtime(_last(session, ticket.id, seq, RUNTIME)),
        pruned=seq <= ticket.pruned_seq,
        before=_stop(session, ticket.id, seq, later=False),
        after=_stop(session, ticket.id, seq, later=True),
    )


def _own(ticket_id: int, seq: int) -> Select[TicketEvent]:
    """What Mission Control itself said of a ticket up to `seq`."""
    return select(TicketEvent).where(
        TicketEvent.ticket_id == ticket_id, TicketEvent.run_seq.is_(None), TicketEvent.seq <= seq
    )


def _last(session: Session, ticket_id: int, seq: int, kinds: Iterable[str]) -> TicketEvent | None:
    """The last event of these kinds up to `seq`: one look into the index for each kind."""
    newest = [
        select(func.max(TicketEvent.seq))
        .where(
            TicketEvent.ticket_id == ticket_id,
            TicketEvent.event_type == kind,
            TicketEvent.run_seq.is_(None),
            TicketEvent.seq <= seq,
        )
        .scalar_subquery()
        for kind in kinds
    ]
    found = max((number for number in session.execute(select(*newest)).one() if number is not None), default=None)
    if found is None:
        return None
    return session.scalar(_own(ticket_id, seq).where(TicketEvent.seq == found))


def _status(moved: TicketEvent | None) -> str:
    payload = moved.payload_json if moved else {}
    return str(payload.get("to") or payload.get("status") or TicketStatus.INBOX.value)


def _held(session: Session, ticket: Ticket, seq: int) -> tuple[str | None, str | None]:
    """Who had the ticket, and in which phase: as the last such event says, and the edits since."""
    stood = _last(session, ticket.id, seq, ticket_phases.HOLDING)
    payload = stood.payload_json if stood else {}
    edits = _own(ticket.id, seq).where(
        TicketEvent.event_type == "ticket_edited", TicketEvent.seq > (stood.seq if stood else 0)
    )
    owner = payload.get("owner")
    for edit in session.scalars(edits.order_by(TicketEvent.seq.desc()).limit(EDITS)):
        changed = edit.payload_json["changes"].get("assigned_to")
        if changed:
            owner = changed[1]
            break
    return owner, payload.get("phase")


def _runtime(event: TicketEvent | None) -> str:
    payload = event.payload_json if event else {}
    told = {
        "run_opened": "running" if payload.get("mode") == "external" else "starting",
        "run_state_changed": str(payload.get("to")),
        "run_stop_requested": "stopping",
    }
    return told.get(event.event_type, "closed") if event else "closed"


def _stop(session: Session, ticket_id: int, seq: int, *, later: bool) -> int | None:
    """The nearest moment at which something is to be seen: something was said, or the ticket or its run changed."""
    nearest = func.min if later else func.max
    tables = [(table, table.seq) for table in timeline.TABLES]
    said = [
        select(nearest(number)).where(table.ticket_id == ticket_id, number > seq if later else number < seq)
        for table, number in tables
    ]
    done = [
        select(nearest(TicketEvent.seq)).where(
            TicketEvent.ticket_id == ticket_id,
            TicketEvent.event_type == kind,
            TicketEvent.run_seq.is_(None),
            TicketEvent.seq > seq if later else TicketEvent.seq < seq,
        )
        for kind in (*ticket_phases.HOLDING, *RUNTIME, "ticket_edited")
    ]
    found = session.execute(select(*(query.scalar_subquery() for query in [*said, *done]))).one()
    known = [int(number) for number in found if number]
    return (min if later else max)(known) if known else None


def marks(session: Session, ticket_id: int) -> list[Mark]:
    """What stands on the ruler, oldest first: the newest moves, runs and verdicts."""
    return [_mark(event) for event in reversed(events.own(session, ticket_id, MARKED, limit=MOST_MARKS))]


def _mark(event: TicketEvent) -> Mark:
    payload = event.payload_json
    seq = event.seq or 0
    if event.event_type == "run_opened":
        return Mark(seq, "run", "in_progress", f"{payload.get('agent')} began")
    if event.event_type == "run_ended":
        return Mark(seq, "run", "in_progress", f"run ended: {payload.get('outcome')}")
    move = payload.get("move", "create")
    kind = "verdict" if move in VERDICTS else "move"
    return Mark(seq, kind, _status(event), f"{move} → {_status(event)}".replace("_", " "))


# -------------------------------------------------------------------------------------------------- the conversation then


def said(session: Session, ticket: Ticket, then: Then) -> list[View]:
    """The end of the conversation as it stood, as `page.conversation` draws it, with nothing that came later."""
    entries = timeline.entries(session, ticket.id, then.seq + 1, SHOWN)
    by_id = {_key(entry): entry for entry in entries}
    views = ticket_detail.conversation(session, ticket, entries)
    return [_as_it_was(view, by_id[view["id"]], then) for view in views]


def _key(entry: Entry) -> str:
    letter = {TicketMessage: "m", QueuedMessage: "q"}.get(type(entry), "c")
    return f"{letter}{entry.id}"


def _as_it_was(view: View, entry: Entry, then: Then) -> View:
    later = getattr(entry, "changed", 0) > then.seq
    if view["kind"] == "question" and (later or _still_asked(entry, then)):
        return view | {"question": view["question"] | {"open": False, "answer": None, "unanswered": True}}
    if view["kind"] == "approval" and later:
        asked = view["approval"] | {"open": False, "behavior": None, "scope": None, "answered_by": None}
        return view | {"approval": asked | {"unanswered": True}}
    if later and isinstance(entry, QueuedMessage):
        return view | {"state": "queued", "error": None}
    if later and isinstance(entry, TicketMessage) and entry.kind is MessageKind.TOOL_CALL:
        return view | {"tool": view["tool"] | {"output": None, "exit_code": None, "seconds": None, "error": False}}
    return _closed(view)


def _still_asked(entry: Entry, then: Then) -> bool:
    return not isinstance(entry, TicketMessage) and then.status == TicketStatus.NEEDS_INPUT.value


def _closed(view: View) -> View:
    """Nothing is asked of a past moment."""
    kind = view["kind"]
    if kind in ("question", "approval") and view[kind]["open"]:
        return view | {kind: view[kind] | {"open": False, "unanswered": True}}
    return view
