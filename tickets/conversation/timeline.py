"""The conversation of a ticket: comments, agent messages and messages to the agent in chronological order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import (
    ActorKind,
    CommentKind,
    MessageKind,
    QueuedMessage,
    RequestState,
    Run,
    RunRequest,
    TicketComment,
    TicketMessage,
)
from protocol import TextPayload
from tickets.lifecycle import comments
from tickets.shared import events, payloads
from tickets.shared.actors import Actor
from tickets.shared.errors import TooLarge
from tickets.shared.inputs import Body, Words

PAGE_SIZE = 100
MAX_RUN_COMMENTS = 200
MAX_OUTPUT_CHARACTERS = 16_000


class NewComment(Body):
    """A comment in Markdown."""

    body: Words


def add_comment(session: Session, ticket_id: int, body: NewComment, actor: Actor) -> TicketComment:
    """Add a comment. Raises `TooLarge` when a run has written as many as it may."""
    if actor.run_id:
        _require_room(session, ticket_id, actor.run_id)
    events.append(session, ticket_id, "comment_added", {"body": body.body[:2000]}, actor)
    return comments.write(session, ticket_id, body.body, actor)


def _require_room(session: Session, ticket_id: int, run_id: int) -> None:
    query = select(func.count()).where(
        TicketComment.ticket_id == ticket_id,
        TicketComment.run_id == run_id,
        TicketComment.author_kind == ActorKind.RUN,
    )
    if (session.scalar(query) or 0) >= MAX_RUN_COMMENTS:
        raise TooLarge(f"A run may write {MAX_RUN_COMMENTS} comments. Put the rest in your report.")


def list_comments(
    session: Session, ticket_id: int, before: int | None = None, limit: int = PAGE_SIZE
) -> list[TicketComment]:
    """List the comments of a ticket, newest first (next page: `before` = the last id seen)."""
    query = select(TicketComment).where(TicketComment.ticket_id == ticket_id)
    if before is not None:
        query = query.where(TicketComment.id < before)
    return list(session.scalars(query.order_by(TicketComment.id.desc()).limit(limit)))


Entry = TicketComment | TicketMessage | QueuedMessage
TABLES = (TicketComment, TicketMessage, QueuedMessage)
LATEST_ENTRIES = [
    select(table)
    .where(table.ticket_id == bindparam("ticket"), table.seq < bindparam("before"))
    .order_by(table.seq.desc(), table.id.desc())
    .limit(bindparam("limit", type_=Integer))
    for table in TABLES
]
MAX_SEQ = 2**31 - 1
"""Greater than every sequence number."""
CHANGE_COLUMNS = (
    (TicketComment, TicketComment.seq),
    (TicketMessage, TicketMessage.changed),
    (QueuedMessage, QueuedMessage.changed),
)


def list_entries(session: Session, ticket_id: int, before: int | None = None, limit: int = PAGE_SIZE) -> list[Entry]:
    """List the last `limit` entries with `seq` below `before`, oldest first: comments, agent messages and messages to it."""
    rows: list[Entry] = []
    parameters = {"ticket": ticket_id, "before": MAX_SEQ if before is None else before, "limit": limit}
    for query in LATEST_ENTRIES:
        rows += session.scalars(query, parameters)
    return _sort_entries(rows)[-limit:]


NEWEST_REPORTS = select(TicketComment).where(
    TicketComment.id.in_(
        select(func.max(TicketComment.id))
        .where(
            TicketComment.ticket_id == bindparam("ticket"),
            TicketComment.kind.in_((CommentKind.QUESTION, CommentKind.VERDICT)),
        )
        .group_by(TicketComment.kind)
    )
)
PENDING_REQUESTS = (
    select(TicketMessage)
    .join(RunRequest, (RunRequest.run_id == TicketMessage.run_id) & (RunRequest.request == TicketMessage.block))
    .where(
        RunRequest.ticket_id == bindparam("ticket"),
        RunRequest.state == RequestState.PENDING,
        TicketMessage.kind.in_((MessageKind.QUESTION, MessageKind.APPROVAL)),
    )
    .order_by(TicketMessage.id)
)


def list_newest_reports(session: Session, ticket_id: int) -> list[TicketComment]:
    """List the newest question and the newest verdict of a ticket."""
    return list(session.scalars(NEWEST_REPORTS, {"ticket": ticket_id}))


def list_pending_requests(session: Session, ticket_id: int) -> list[TicketMessage]:
    """List the questions and approvals for which the live run of a ticket waits, oldest first."""
    return list(session.scalars(PENDING_REQUESTS, {"ticket": ticket_id}))


def list_changes(session: Session, ticket_id: int, after: int, limit: int = PAGE_SIZE) -> list[Entry]:
    """List the entries that were added or changed after the event with sequence `after`, in conversation order."""
    rows: list[Entry] = []
    for table, mark in CHANGE_COLUMNS:
        query = select(table).where(table.ticket_id == ticket_id, mark > after).order_by(mark).limit(limit)
        rows += session.scalars(query)
    return _sort_entries(rows)


def _sort_entries(rows: list[Entry]) -> list[Entry]:
    return sorted(rows, key=lambda entry: (entry.seq, entry.created, entry.id))


def list_comments_since(session: Session, ticket_id: int, moment: datetime) -> list[TicketComment]:
    """List the comments of people after a moment, oldest first, for the prompt of the next run."""
    query = select(TicketComment).where(
        TicketComment.ticket_id == ticket_id,
        TicketComment.created > moment,
        TicketComment.author_kind != ActorKind.SYSTEM,
    )
    return list(session.scalars(query.order_by(TicketComment.id)))


# ------------------------------------------------------------------------------- display of the agent's event stream

KIND_BY_EVENT = {
    "text": MessageKind.TEXT,
    "thinking": MessageKind.THINKING,
    "tool_call": MessageKind.TOOL_CALL,
    "input": MessageKind.INPUT,
    "question": MessageKind.QUESTION,
    "approval": MessageKind.APPROVAL,
    "error": MessageKind.ERROR,
    "notice": MessageKind.NOTICE,
}


def apply_agent_event(session: Session, run: Run, kind: str, payload: dict[str, Any], seq: int, at: datetime) -> None:
    """Add one agent event to the displayed conversation. A tool's result is added to the row of its call."""
    if kind == "tool_result":
        _join_result(session, run, payload, seq)
    elif kind in KIND_BY_EVENT:
        _add_message(session, run, KIND_BY_EVENT[kind], payload, seq, at)


def _add_message(
    session: Session, run: Run, kind: MessageKind, payload: dict[str, Any], seq: int, at: datetime
) -> None:
    text_payload = payloads.read(TextPayload, payload)
    data = {key: value for key, value in payload.items() if key not in ("text", "block", "parent")}
    row = {
        "ticket_id": run.ticket_id,
        "run_id": run.id,
        "kind": kind,
        "author": run.agent,
        "block": block_of(payload, seq),
        "parent": text_payload.parent or None,
        "text": text_payload.text or text_payload.title or text_payload.message,
        "data": data or None,
        "created": at,
        "seq": seq,
        "changed": seq,
    }
    session.execute(insert_or_ignore(session, TicketMessage).values(**row))


def block_of(payload: dict[str, Any], seq: int) -> str:
    """Return the name of an entry within its run, which is the request for one that waits for an answer."""
    names = (payload.get(key) for key in ("request", "block", "call", "uuid"))
    return next((payloads.plain(name) for name in names if name), f"seq-{seq}")


def _join_result(session: Session, run: Run, payload: dict[str, Any], seq: int) -> None:
    mine = (TicketMessage.run_id == run.id, TicketMessage.block == payload.get("call"))
    row = session.scalar(select(TicketMessage).where(*mine))
    if row is None:
        return
    result = {key: payload[key] for key in ("error", "exit_code", "seconds", "truncated") if key in payload}
    output = (payload.get("output") or "")[:MAX_OUTPUT_CHARACTERS]
    session.execute(
        update(TicketMessage)
        .where(*mine)
        .values(data={**(row.data or {}), **result, "output": output, "ended": True}, changed=seq)
    )


def mark_requests_changed(session: Session, run_id: int, seq: int, request: str | None = None) -> None:
    """Mark the entry of a run's answered or withdrawn request as changed by event `seq` (all without `request`)."""
    mine = [TicketMessage.run_id == run_id, TicketMessage.kind.in_((MessageKind.QUESTION, MessageKind.APPROVAL))]
    if request is not None:
        mine.append(TicketMessage.block == request)
    session.execute(update(TicketMessage).where(*mine).values(changed=seq))


def prune_messages(session: Session, border: datetime, limit: int = 5000) -> int:
    """Delete agent messages older than `border`. Comments are kept as long as the ticket."""
    old = select(TicketMessage.id).where(TicketMessage.created < border).order_by(TicketMessage.created).limit(limit)
    deleted_ids = session.scalars(delete(TicketMessage).where(TicketMessage.id.in_(old)).returning(TicketMessage.id))
    return len(deleted_ids.all())
