"""Replay of a ticket: its state, owner, phase, runtime and conversation after any event of its log.

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
from tickets.shared.events import LogEntry
from tickets.workflow import ticket_phases

from . import ticket_detail

View = dict[str, Any]

RUNTIME_EVENTS = ("run_opened", "run_state_changed", "run_stop_requested", "run_ended")
MARK_EVENTS = ("ticket_created", "ticket_moved", "run_opened", "run_ended")
VERDICT_MOVES = frozenset({"submit", "complete", "ask", "send_back"})
MAX_MARKS = 200
MAX_ENTRIES = 20
MAX_EDITS = 50


@dataclass(frozen=True, slots=True)
class PastState:
    """The ticket after event `seq`.

    `event` is the last available one up to there, `before` and `after` are the nearest positions with a visible change.
    """

    seq: int
    event: LogEntry | None
    status: str
    owner: str | None
    phase: str | None
    runtime: str
    pruned: bool
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark on the timeline: a `move` (with its target state), the start or end of a `run`, or a `verdict`."""

    seq: int
    kind: str
    state: str
    text: str


def load_state(session: Session, ticket: Ticket, seq: int) -> PastState:
    """Load the ticket's state after event `seq`, or after its last event where there are fewer."""
    seq = max(1, min(seq, ticket.event_seq))
    event = _find_last(session, ticket.id, seq, ("ticket_created", "ticket_moved"))
    owner, phase = _find_holder(session, ticket, seq)
    return PastState(
        seq=seq,
        event=next(iter(events.list_latest(session, ticket.id, seq + 1, 1)), None),
        status=_read_status(event),
        owner=owner,
        phase=phase,
        runtime=_read_runtime(_find_last(session, ticket.id, seq, RUNTIME_EVENTS)),
        pruned=seq <= ticket.pruned_seq,
        before=_find_stop(session, ticket.id, seq, later=False),
        after=_find_stop(session, ticket.id, seq, later=True),
    )


def _select_own_events(ticket_id: int, seq: int) -> Select[TicketEvent]:
    """Select the events that Mission Control itself recorded for a ticket up to `seq`."""
    return select(TicketEvent).where(
        TicketEvent.ticket_id == ticket_id, TicketEvent.run_seq.is_(None), TicketEvent.seq <= seq
    )


def _find_last(session: Session, ticket_id: int, seq: int, kinds: Iterable[str]) -> TicketEvent | None:
    """Find the last event of these types up to `seq`, with one index lookup per type."""
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
    last_seq = max((number for number in session.execute(select(*newest)).one() if number is not None), default=None)
    if last_seq is None:
        return None
    return session.scalar(_select_own_events(ticket_id, seq).where(TicketEvent.seq == last_seq))


def _read_status(event: TicketEvent | None) -> str:
    payload = event.payload_json if event else {}
    return str(payload.get("to") or payload.get("status") or TicketStatus.INBOX.value)


def _find_holder(session: Session, ticket: Ticket, seq: int) -> tuple[str | None, str | None]:
    """Find the owner and phase at `seq`, from the last event that carries them and the edits since."""
    holder_event = _find_last(session, ticket.id, seq, ticket_phases.HOLDER_EVENTS)
    payload = holder_event.payload_json if holder_event else {}
    edits = _select_own_events(ticket.id, seq).where(
        TicketEvent.event_type == "ticket_edited", TicketEvent.seq > (holder_event.seq if holder_event else 0)
    )
    owner = payload.get("owner")
    for edit in session.scalars(edits.order_by(TicketEvent.seq.desc()).limit(MAX_EDITS)):
        change = edit.payload_json["changes"].get("assigned_to")
        if change:
            owner = change[1]
            break
    return owner, payload.get("phase")


def _read_runtime(event: TicketEvent | None) -> str:
    payload = event.payload_json if event else {}
    states = {
        "run_opened": "running" if payload.get("mode") == "external" else "starting",
        "run_state_changed": str(payload.get("to")),
        "run_stop_requested": "stopping",
    }
    return states.get(event.event_type, "closed") if event else "closed"


def _find_stop(session: Session, ticket_id: int, seq: int, *, later: bool) -> int | None:
    """Find the nearest position with a visible change: an entry of the conversation, or a change of the ticket or its run."""
    nearest = func.min if later else func.max
    tables = [(table, table.seq) for table in timeline.TABLES]
    entry_queries = [
        select(nearest(number)).where(table.ticket_id == ticket_id, number > seq if later else number < seq)
        for table, number in tables
    ]
    event_queries = [
        select(nearest(TicketEvent.seq)).where(
            TicketEvent.ticket_id == ticket_id,
            TicketEvent.event_type == kind,
            TicketEvent.run_seq.is_(None),
            TicketEvent.seq > seq if later else TicketEvent.seq < seq,
        )
        for kind in (*ticket_phases.HOLDER_EVENTS, *RUNTIME_EVENTS, "ticket_edited")
    ]
    row = session.execute(select(*(query.scalar_subquery() for query in [*entry_queries, *event_queries]))).one()
    numbers = [int(number) for number in row if number]
    return (min if later else max)(numbers) if numbers else None


def list_marks(session: Session, ticket_id: int) -> list[Mark]:
    """List the newest moves, runs and verdicts as marks of the timeline, oldest first."""
    return [_build_mark(event) for event in reversed(events.list_own(session, ticket_id, MARK_EVENTS, limit=MAX_MARKS))]


def _build_mark(event: TicketEvent) -> Mark:
    payload = event.payload_json
    seq = event.seq or 0
    if event.event_type == "run_opened":
        return Mark(seq, "run", "in_progress", f"{payload.get('agent')} began")
    if event.event_type == "run_ended":
        return Mark(seq, "run", "in_progress", f"run ended: {payload.get('outcome')}")
    move = payload.get("move", "create")
    kind = "verdict" if move in VERDICT_MOVES else "move"
    return Mark(seq, kind, _read_status(event), f"{move} → {_read_status(event)}".replace("_", " "))


# ------------------------------------------------------------------------------------------------ past conversation


def build_conversation(session: Session, ticket: Ticket, then: PastState) -> list[View]:
    """Build the last entries of the conversation as of `then`, without later changes."""
    entries = timeline.list_entries(session, ticket.id, then.seq + 1, MAX_ENTRIES)
    by_id = {_build_entry_id(entry): entry for entry in entries}
    views = ticket_detail.build_conversation(session, ticket, entries)
    return [_restore_view(view, by_id[view["id"]], then) for view in views]


def _build_entry_id(entry: Entry) -> str:
    letter = {TicketMessage: "m", QueuedMessage: "q"}.get(type(entry), "c")
    return f"{letter}{entry.id}"


def _restore_view(view: View, entry: Entry, then: PastState) -> View:
    later = getattr(entry, "changed", 0) > then.seq
    if view["kind"] == "question" and (later or _is_still_open(entry, then)):
        return view | {"question": view["question"] | {"open": False, "answer": None, "unanswered": True}}
    if view["kind"] == "approval" and later:
        approval = view["approval"] | {"open": False, "behavior": None, "scope": None, "answered_by": None}
        return view | {"approval": approval | {"unanswered": True}}
    if later and isinstance(entry, QueuedMessage):
        return view | {"state": "queued", "error": None}
    if later and isinstance(entry, TicketMessage) and entry.kind is MessageKind.TOOL_CALL:
        return view | {"tool": view["tool"] | {"output": None, "exit_code": None, "seconds": None, "error": False}}
    return _close_view(view)


def _is_still_open(entry: Entry, then: PastState) -> bool:
    return not isinstance(entry, TicketMessage) and then.status == TicketStatus.NEEDS_INPUT.value


def _close_view(view: View) -> View:
    """Close open questions and approvals, as a past state accepts no answer."""
    kind = view["kind"]
    if kind in ("question", "approval") and view[kind]["open"]:
        return view | {kind: view[kind] | {"open": False, "unanswered": True}}
    return view
