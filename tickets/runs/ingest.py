"""Ingestion of events from a run's wrapper: batches in order, each event once, while the run claims its ticket."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import Run, RunRequest, RunState, TicketEvent, now
from protocol import EventType, ModelPayload, PlanPayload, SessionPayload, TextPayload
from tickets.conversation import messages, requests, timeline
from tickets.conversation.requests import PLAN_REQUEST
from tickets.dispatch import budgets
from tickets.dispatch.budgets import NO_LIMITS, Budgets
from tickets.planning import plans
from tickets.shared import events, payloads
from tickets.shared.inputs import Moment, WrapperBody
from tickets.shared.lookup import get_run
from tickets.workflow import quarantine

from . import heartbeat, model_change, refusals, run_configuration, sessions, usage

EVENT_TYPE = r"^(agent|run|script|external)\.[a-z][a-z_]{0,39}$"
BLOCK_EVENTS = {EventType.TEXT, EventType.THINKING, EventType.TOOL_CALL, EventType.TOOL_RESULT}
SHOWN = {EventType.TEXT, EventType.TOOL_CALL, EventType.PROGRESS, EventType.STEP}
MAX_LINE_CHARACTERS = 160


class WorkerEvent(WrapperBody):
    """One event of a run. `run_seq` increases within the run, and an event with a number already stored is ignored.

    An event without a number is stored each time it is sent.
    """

    run_seq: int | None = Field(None, ge=1)
    ts: Moment = Field(default_factory=now)
    event_type: str = Field(pattern=EVENT_TYPE)
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The number of new and of repeated events, and the last number stored."""

    accepted: int
    repeated: int
    last_run_seq: int
    refused: str | None = None


def ingest_events(
    session: Session, run_id: int, batch: list[WorkerEvent], allowed: Budgets = NO_LIMITS
) -> IngestResult:
    """Append the new events of a batch, and stop a run that has exceeded a budget in the middle of its turn.

    The events of an ended run are quarantined, and the caller answers 409. Their usage is counted all the same.
    """
    run = get_run(session, run_id)
    if run.state is RunState.ENDED:
        _record_usage(session, run, batch)
        quarantine.store_payload(
            session, run, "events", "the run has already ended", [event.model_dump(mode="json") for event in batch]
        )
        return IngestResult(0, 0, run.last_run_seq, refused="the run has already ended")
    numbered = {event.run_seq: event for event in batch if event.run_seq and event.run_seq > run.last_run_seq}
    new_events = [
        *(numbered[number] for number in sorted(numbered)),
        *(event for event in batch if event.run_seq is None),
    ]
    if not new_events:
        return IngestResult(0, len(batch), run.last_run_seq)
    first = _insert_events(session, run, new_events)
    for seq, event in enumerate(new_events, start=first):
        _process_event(session, run, event, seq)
    _finish_typing(session, run, new_events)
    last = max(numbered, default=run.last_run_seq)
    values: dict[str, Any] = {"last_run_seq": last, **_find_live_line(new_events), **heartbeat.build_sign(run)}
    session.execute(update(Run).where(Run.id == run.id).values(**values))
    if _record_usage(session, run, new_events, is_newest=True) and not any(
        event.event_type == EventType.RESULT for event in new_events
    ):
        budgets.enforce_budgets(session, get_run(session, run.id), allowed)
    return IngestResult(len(new_events), len(batch) - len(new_events), last)


def _record_usage(session: Session, run: Run, batch: list[WorkerEvent], *, is_newest: bool = False) -> bool:
    """Record the usage in these events, and return whether there was any."""
    totals_list = [usage.parse_usage(event.payload) for event in batch if event.event_type == EventType.USAGE]
    for totals in totals_list:
        usage.record_usage(session, run.id, totals, is_newest=is_newest)
    return bool(totals_list)


def _insert_events(session: Session, run: Run, new_events: list[WorkerEvent]) -> int:
    """Append the rows and return the sequence number of the first."""
    first = events.reserve_seq(session, run.ticket_id, len(new_events)) - len(new_events) + 1
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
            "block": str(event.payload.get("block")) if event.event_type == EventType.DELTA else None,
        }
        for seq, event in enumerate(new_events, start=first)
    ]
    session.execute(insert(TicketEvent), rows)
    return first


def _process_event(session: Session, run: Run, event: WorkerEvent, seq: int) -> None:
    """Apply the effects of an event besides its log entry: a displayed message, a receipt, a request."""
    source, _, kind = event.event_type.partition(".")
    if source != "agent":
        return
    payload = payloads.normalize(event.event_type, event.payload)
    timeline.apply_agent_event(session, run, kind, payload, seq, event.ts)
    match event.event_type:
        case EventType.RECEIPT:
            messages.apply_receipt(session, run, payload, seq)
        case EventType.QUESTION | EventType.APPROVAL:
            _add_request(session, run, kind, payload, seq)
        case EventType.PLAN:
            _add_plan(session, run, payloads.read(PlanPayload, payload), seq)
        case EventType.CHECKLIST if not payload.get("parent"):
            run.checklist = list(payload.get("items") or ())
        case EventType.MODEL:
            model_change.apply_answer(session, run, payloads.read(ModelPayload, payload))
        case EventType.WITHDRAWN:
            _withdraw_request(session, run, payload, seq)
        case EventType.NOTICE:
            _apply_notice(session, run, payloads.read(TextPayload, payload))
        case EventType.SESSION:
            _record_session(session, run, payloads.read(SessionPayload, payload))


def _apply_notice(session: Session, run: Run, notice: TextPayload) -> None:
    if notice.refused:
        refusals.record_refusal(session, run.id, notice.refused)
    if notice.ignores_configuration:
        run_configuration.record_change(run)


def _record_session(session: Session, run: Run, payload: SessionPayload) -> None:
    run.model = payload.model or run.model
    if payload.conversation_id:
        sessions.record_conversation(session, run, payload.conversation_id)


def _add_plan(session: Session, run: Run, payload: PlanPayload, seq: int) -> None:
    """Store a plan, and the request of a process that waits for its decision."""
    plans.propose_plan(session, run, payload.text, payload.request or None)
    if payload.request:
        _add_request(session, run, PLAN_REQUEST, asdict(payload), seq)


def _add_request(session: Session, run: Run, kind: str, payload: dict[str, Any], seq: int) -> None:
    row = {
        "ticket_id": run.ticket_id,
        "run_id": run.id,
        "request": timeline.block_of(payload, seq),
        "kind": kind,
        "payload": payload,
    }
    session.execute(insert_or_ignore(session, RunRequest).values(**row))


def _withdraw_request(session: Session, run: Run, payload: dict[str, Any], seq: int) -> None:
    request = str(payload.get("request"))
    mine = (RunRequest.run_id == run.id, RunRequest.request == request)
    session.execute(update(RunRequest).where(*mine).values(state="withdrawn"))
    timeline.mark_requests_changed(session, run.id, seq, request)
    requests.restart_wait(session, run.id)


def _finish_typing(session: Session, run: Run, new_events: list[WorkerEvent]) -> None:
    whole = [str(e.payload.get("block")) for e in new_events if e.event_type in BLOCK_EVENTS]
    events.delete_typing_deltas(session, run.id, whole)


def _find_live_line(new_events: list[WorkerEvent]) -> dict[str, Any]:
    """Return the line that the card of a working agent displays: its last text or its last tool call."""
    for event in reversed(new_events):
        totals_list = payloads.read(TextPayload, event.payload)
        words = totals_list.text or totals_list.title
        if event.event_type in SHOWN and words:
            lines = words.strip().splitlines()
            return {"live_line": lines[-1][:MAX_LINE_CHARACTERS]} if lines else {}
    return {}
