"""Taking in what a run's wrapper sends: batches of events, in order, each once, while the run holds its ticket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import Run, RunRequest, RunState, TicketEvent, now
from protocol import TextPayload
from tickets.conversation import messages, timeline
from tickets.dispatch import budgets
from tickets.dispatch.budgets import NO_LIMITS, Budgets
from tickets.shared import events, payloads
from tickets.shared.inputs import Body, Moment
from tickets.shared.lookup import get_run
from tickets.workflow import quarantine

from . import sessions, usage

BATCH = 500
EVENT_TYPE = r"^(agent|run|script|external)\.[a-z][a-z_]{0,39}$"
WHOLE = {"agent.text", "agent.thinking", "agent.tool_call", "agent.tool_result"}
LIVE_LINE = 160


class WorkerEvent(Body):
    """One event of a run; `run_seq` counts up within the run, and a number already taken is ignored.

    An event without a number is taken each time it comes.
    """

    run_seq: int | None = Field(None, ge=1)
    ts: Moment = Field(default_factory=now)
    event_type: str = Field(pattern=EVENT_TYPE)
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """How many events were new, how many were known, and the last number taken."""

    accepted: int
    repeated: int
    last_run_seq: int
    refused: str | None = None


def take(session: Session, run_id: int, batch: list[WorkerEvent], allowed: Budgets = NO_LIMITS) -> Taken:
    """Append the new events of a batch and stop a run that has passed a limit in the middle of its turn.

    The events of an ended run are quarantined, and the caller answers 409; what they say was spent is counted.
    """
    run = get_run(session, run_id)
    if run.state is RunState.ENDED:
        _count(session, run, batch)
        quarantine.keep(
            session, run, "events", "the run has already ended", [event.model_dump(mode="json") for event in batch]
        )
        return Taken(0, 0, run.last_run_seq, refused="the run has already ended")
    numbered = {event.run_seq: event for event in batch if event.run_seq and event.run_seq > run.last_run_seq}
    fresh = [*(numbered[number] for number in sorted(numbered)), *(event for event in batch if event.run_seq is None)]
    if not fresh:
        return Taken(0, len(batch), run.last_run_seq)
    first = _store(session, run, fresh)
    for seq, event in enumerate(fresh, start=first):
        _follow(session, run, event, seq)
    _finish_typing(session, run, fresh)
    last = max(numbered, default=run.last_run_seq)
    values: dict[str, Any] = {"last_run_seq": last, **_last_words(fresh)}
    session.execute(update(Run).where(Run.id == run.id).values(**values))
    if _count(session, run, fresh) and not any(event.event_type == "agent.result" for event in fresh):
        budgets.enforce(session, get_run(session, run.id), allowed)
    return Taken(len(fresh), len(batch) - len(fresh), last)


def _count(session: Session, run: Run, batch: list[WorkerEvent]) -> bool:
    """Take in what the events say was spent; whether any said so."""
    told = [usage.read(event.payload) for event in batch if event.event_type == "agent.usage"]
    for totals in told:
        usage.record(session, run.id, totals)
    return bool(told)


def _store(session: Session, run: Run, fresh: list[WorkerEvent]) -> int:
    """Append the rows; returns the sequence number of the first."""
    first = events.next_seq(session, run.ticket_id, len(fresh)) - len(fresh) + 1
    rows = [
        {
            "ticket_id": run.ticket_id,
            "seq": seq,
            "event_type": event.event_type,
            "payload_json": event.payload,
            "actor": run.agent,
            "run_id": run.id,
            "run_seq": event.run_seq,
            "ts": event.ts,
            "block": str(event.payload.get("block")) if event.event_type == "agent.delta" else None,
        }
        for seq, event in enumerate(fresh, start=first)
    ]
    session.execute(insert(TicketEvent), rows)
    return first


def _follow(session: Session, run: Run, event: WorkerEvent, seq: int) -> None:
    """What an event means beyond the log: a message shown, a receipt, a request."""
    room, _, kind = event.event_type.partition(".")
    if room != "agent":
        return
    payload = payloads.normalize(event.event_type, event.payload)
    timeline.derive(session, run, kind, payload, seq, event.ts)
    if kind == "receipt":
        messages.receive(session, run, payload, seq)
    elif kind in ("question", "approval"):
        _request(session, run, kind, payload, seq)
    elif kind == "withdrawn":
        _withdraw(session, run, payload, seq)
    elif kind == "session" and payload.get("conversation_id"):
        sessions.begun(session, run, payload["conversation_id"])


def _request(session: Session, run: Run, kind: str, payload: dict[str, Any], seq: int) -> None:
    row = {
        "ticket_id": run.ticket_id,
        "run_id": run.id,
        "request": timeline.block_of(payload, seq),
        "kind": kind,
        "payload": payload,
    }
    session.execute(insert_or_ignore(session, RunRequest).values(**row))


def _withdraw(session: Session, run: Run, payload: dict[str, Any], seq: int) -> None:
    request = str(payload.get("request"))
    mine = (RunRequest.run_id == run.id, RunRequest.request == request)
    session.execute(update(RunRequest).where(*mine).values(state="withdrawn"))
    timeline.settled(session, run.id, seq, request)


def _finish_typing(session: Session, run: Run, fresh: list[WorkerEvent]) -> None:
    whole = [str(e.payload.get("block")) for e in fresh if e.event_type in WHOLE]
    events.drop_typing(session, run.id, whole)


def _last_words(fresh: list[WorkerEvent]) -> dict[str, Any]:
    """The line that a card shows of a working agent: its last words or its last tool call."""
    for event in reversed(fresh):
        told = payloads.read(TextPayload, event.payload)
        words = told.text or told.title
        if event.event_type in ("agent.text", "agent.tool_call", "agent.progress", "agent.step") and words:
            lines = words.strip().splitlines()
            return {"live_line": lines[-1][:LIVE_LINE]} if lines else {}
    return {}
