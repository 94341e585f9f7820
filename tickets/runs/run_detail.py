"""Details of one run for its page: progress, outcome, workspace, usage and messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import (
    Program,
    Project,
    QueuedMessage,
    RequestState,
    Run,
    RunMode,
    RunRequest,
    Ticket,
    TicketComment,
    TicketEvent,
)
from protocol import (
    COORDINATION,
    ChecklistPayload,
    CoordinationPayload,
    EventType,
    SessionPayload,
)
from tickets.shared import lookup, payloads
from tickets.shared.errors import NoSuchRun
from tickets.team import permission_view
from tickets.team.projects import TrustState
from tickets.workflow import quarantine

from . import failure_record, run_configuration, runtime

View = dict[str, Any]
OUTPUT_EVENTS = (EventType.TEXT, EventType.THINKING, EventType.TOOL_CALL, EventType.STEP)
MAX_SHOWN_ITEMS, MAX_DONE_ITEMS, MAX_ITEM_CHARACTERS = 100, 20, 500
"""What a page shows of a checklist: items in all, done ones before the first open one, and characters of each."""
MAX_FIRST_EVENTS = 50
"""The program's version and the agent's first output are among this many first events."""
PAGE_SIZE = 50


def get_run(session: Session, ticket_id: int, run_id: int) -> Run:
    """Return a run of this ticket. Raises `NoSuchRun` for a run of another ticket."""
    run = lookup.get_run(session, run_id)
    if run.ticket_id != ticket_id:
        raise NoSuchRun(run=run_id)
    return run


def build_details(session: Session, run: Run) -> View:
    """Build all details of a run. Lists of facts are (label, value) pairs without empty values."""
    opening, record = _load_first_events(session, run), _load_record(session, run)
    configuration = run_configuration.read_configuration(run)
    return {
        "id": run.id,
        "generation": run.generation,
        "agent": run.agent,
        "state": run.state.value,
        "outcome": run.outcome.value if run.outcome else None,
        "summary": run.summary,
        "led_to": _describe_move(session, run),
        "failure": _describe_failure(run, record),
        "record": [(name.replace("_", " ").capitalize(), _format_value(value)) for name, value in record.items()],
        "program": _drop_empty(_list_program_facts(session, run, opening)),
        "place": _drop_empty(_list_place_facts(run)),
        "configuration": _drop_empty(configuration.list_facts() if configuration else []),
        "brought": configuration if configuration and configuration.trust is not TrustState.NOTHING else None,
        "project": _find_project(session, run),
        "times": _drop_empty(_list_times(run, opening)),
        "spent": _drop_empty(_list_usage(run)),
        "checklist": build_checklist(run),
        "messages": _list_messages(session, run),
        "branch": run.branch,
        "prompt": session.scalar(select(Run.prompt).where(Run.id == run.id)),
        "is_outside": run.mode is RunMode.EXTERNAL,
        "is_unanswerable": runtime.is_unanswerable(run) and not _has_pending_request(session, run),
    }


def _find_project(session: Session, run: Run) -> str | None:
    """Find the short name of the project that the run's ticket belongs to."""
    return session.scalar(select(Project.slug).join(Ticket).where(Ticket.id == run.ticket_id))


def _has_pending_request(session: Session, run: Run) -> bool:
    pending = (RunRequest.run_id == run.id, RunRequest.state == RequestState.PENDING)
    return session.scalar(select(RunRequest.id).where(*pending).limit(1)) is not None


def build_checklist(run: Run) -> View | None:
    """Build the checklist that the agent of a run keeps, None where it has none. A long one is shown around its open items."""
    items = payloads.read(ChecklistPayload, {"items": run.checklist}).items if run.checklist else ()
    if not items:
        return None
    open_index = next((index for index, item in enumerate(items) if item.state != "done"), len(items))
    start = max(0, min(open_index - MAX_DONE_ITEMS, len(items) - MAX_SHOWN_ITEMS))
    listed_items = items[start : start + MAX_SHOWN_ITEMS]
    return {
        "items": [{"text": item.text[:MAX_ITEM_CHARACTERS], "state": item.state} for item in listed_items],
        "done": sum(item.state == "done" for item in items),
        "total": len(items),
        "earlier": start,
        "later": len(items) - start - len(listed_items),
    }


def _drop_empty(facts: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(label, value) for label, value in facts if value not in (None, "", 0)]


def _load_first_events(session: Session, run: Run) -> list[TicketEvent]:
    """Load the first stored events of the run, as there may be many more."""
    query = select(TicketEvent).where(TicketEvent.run_id == run.id, TicketEvent.run_seq <= MAX_FIRST_EVENTS)
    return list(session.scalars(query.order_by(TicketEvent.run_seq)))


def _describe_failure(run: Run, record: View) -> View | None:
    """Describe the failure and its consequence."""
    if run.failure is None:
        return None
    consequence = _format_value(record.get("next_actions") or [])
    return {"kind": run.failure.value, "detail": run.failure_detail, "consequence": consequence}


def _describe_move(session: Session, run: Run) -> str | None:
    """Describe the move that the run's verdict made."""
    query = select(TicketEvent).where(
        TicketEvent.run_id == run.id, TicketEvent.run_seq.is_(None), TicketEvent.event_type == "ticket_moved"
    )
    event = session.scalar(query.order_by(TicketEvent.id.desc()).limit(1))
    if event is None:
        return None
    payload = event.payload_json
    where = f" in phase {payload['phase']}" if payload.get("phase") else ""
    return f"{payload['move']}: {payload['from']} → {payload['to']}{where}".replace("_", " ")


def _load_record(session: Session, run: Run) -> View:
    """Load the failure record of the run, if any."""
    mine = (TicketComment.ticket_id == run.ticket_id, TicketComment.run_id == run.id)
    query = select(TicketComment).where(*mine, TicketComment.body.startswith(f"**{failure_record.HEADING}**"))
    comment = session.scalar(query.order_by(TicketComment.seq.desc()).limit(1))
    return comment.data or {} if comment else {}


def _format_value(value: Any) -> str:
    return "; ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _list_program_facts(session: Session, run: Run, opening: list[TicketEvent]) -> list[tuple[str, Any]]:
    payload = next((event.payload_json for event in opening if event.event_type == EventType.SESSION), {})
    agent_session = payloads.read(SessionPayload, payload)
    program = session.get(Program, (run.host, run.program)) if run.program else None
    version = agent_session.version or (f"{program.version} (current)" if program and program.version else "")
    return [
        ("Phase", run.phase),
        ("Profile", run.profile),
        ("Permissions", _describe_policy(session, run)),
        ("Program", f"{run.program or ''} {version}".strip()),
        ("Model", run.model or agent_session.model),
        ("Coordination", _describe_coordination(opening)),
        ("Mode", run.mode.value),
        ("Conversation", run.conversation_id),
        ("Resumed", "yes, the conversation of an earlier run" if run.resumes else None),
        ("Started from", "a copy of conversation " + run.forks if run.forks else None),
        ("Host", run.host),
    ]


def _describe_coordination(opening: list[TicketEvent]) -> str | None:
    """Describe the coordination tools at the start of the run, None for a program that reports none."""
    statuses = [event.payload_json for event in opening if event.event_type == EventType.COORDINATION]
    if not statuses:
        return None
    status = payloads.read(CoordinationPayload, statuses[-1])
    return " ".join(part for part in (COORDINATION, status.version, f"({status.state})") if part)


def _describe_policy(session: Session, run: Run) -> str:
    """Describe what the run's profile allows by now."""
    view = permission_view.describe_permissions(session, run.profile, None, run.host)
    return view.summary if view else ""


def _list_place_facts(run: Run) -> list[tuple[str, Any]]:
    return [
        ("Workspace", run.workspace),
        ("Repository", run.repository),
        ("Branch", run.branch),
        ("Base", (run.base_sha or "")[:12]),
        ("Pane", run.tmux_target),
    ]


def _list_times(run: Run, opening: list[TicketEvent]) -> list[tuple[str, datetime | None]]:
    first = next((event.ts for event in opening if event.event_type in OUTPUT_EVENTS), None)
    beat = None if run.ended else run.heartbeat
    return [("Started", run.started), ("First output", first), ("Last heartbeat", beat), ("Ended", run.ended)]


def _list_usage(run: Run) -> list[tuple[str, Any]]:
    return [
        ("Input tokens", run.input_tokens),
        ("Output tokens", run.output_tokens),
        ("Read from cache", run.cache_read_tokens),
        ("Written to cache", run.cache_write_tokens),
        ("Turns", run.turns),
    ]


def _list_messages(session: Session, run: Run) -> list[View]:
    """List the messages sent to the run, newest first."""
    mine = (QueuedMessage.ticket_id == run.ticket_id, QueuedMessage.run_id == run.id)
    query = select(QueuedMessage).where(*mine).order_by(QueuedMessage.seq.desc()).limit(PAGE_SIZE)
    return [
        {"author": row.author, "body": row.body, "state": row.state.value, "at": row.created, "failure": row.failure}
        for row in session.scalars(query)
    ]


def list_late_writes(session: Session, ticket_id: int, run_id: int | None = None) -> list[View]:
    """List the quarantined writes of this ticket's runs, or of one run, newest first."""
    names = ("id", "run_id", "kind", "reason", "payload", "created")
    rows = quarantine.list_quarantined(session, ticket_id, PAGE_SIZE, run_id)
    return [{name: getattr(row, name) for name in names} for row in rows]
