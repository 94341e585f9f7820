"""The conversation of a ticket: comments, and what the agent says and does, in one order of time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, bindparam, delete, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import ActorKind, MessageKind, QueuedMessage, Run, TicketComment, TicketMessage
from protocol import TextPayload
from tickets.lifecycle import comments
from tickets.shared import events, payloads
from tickets.shared.actors import Actor
from tickets.shared.inputs import Body, Words

PAGE_SIZE = 100
MAX_OUTPUT_CHARACTERS = 16_000


class NewComment(Body):
    """A comment in Markdown."""

    body: Words


def add_comment(session: Session, ticket_id: int, body: NewComment, actor: Actor) -> TicketComment:
    events.append(session, ticket_id, "comment_added", {"body": body.body[:2000]}, actor)
    return comments.write(session, ticket_id, body.body, actor)


def list_comments(
    session: Session, ticket_id: int, before: int | None = None, limit: int = PAGE_SIZE
) -> list[TicketComment]:
    """Newest first; page on with `before` = the last id seen."""
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
"""Above every sequence number."""
CHANGE_COLUMNS = (
    (TicketComment, TicketComment.seq),
    (TicketMessage, TicketMessage.changed),
    (QueuedMessage, QueuedMessage.changed),
)


def list_entries(session: Session, ticket_id: int, before: int | None = None, limit: int = PAGE_SIZE) -> list[Entry]:
    """The last `limit` entries with `seq` below `before`: comments, agent messages and messages to it, oldest first."""
    rows: list[Entry] = []
    parameters = {"ticket": ticket_id, "before": MAX_SEQ if before is None else before, "limit": limit}
    for query in LATEST_ENTRIES:
        rows += session.scalars(query, parameters)
    return _sort_entries(rows)[-limit:]


def list_changes(session: Session, ticket_id: int, after: int, limit: int = PAGE_SIZE) -> list[Entry]:
    """The entries that came or changed after the event with sequence `after`, in the order of the conversation."""
    rows: list[Entry] = []
    for table, mark in CHANGE_COLUMNS:
        query = select(table).where(table.ticket_id == ticket_id, mark > after).order_by(mark).limit(limit)
        rows += session.scalars(query)
    return _sort_entries(rows)


def _sort_entries(rows: list[Entry]) -> list[Entry]:
    return sorted(rows, key=lambda entry: (entry.seq, entry.created, entry.id))


def list_comments_since(session: Session, ticket_id: int, moment: datetime) -> list[TicketComment]:
    """What people said after a moment: answers, feedback and comments for the next run's prompt, oldest first."""
    query = select(TicketComment).where(
        TicketComment.ticket_id == ticket_id,
        TicketComment.created > moment,
        TicketComment.author_kind != ActorKind.SYSTEM,
    )
    return list(session.scalars(query.order_by(TicketComment.id)))


# ------------------------------------------------------------------------------------- what the agent's stream becomes

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
    """Add one agent event to the displayed conversation; a tool's result joins the row of its call."""
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
    """The name of an entry within its run: the request for what waits for an answer."""
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
    """A run's question was answered or withdrawn (all of them without `request`): its entry changed with event `seq`."""
    mine = [TicketMessage.run_id == run_id, TicketMessage.kind.in_((MessageKind.QUESTION, MessageKind.APPROVAL))]
    if request is not None:
        mine.append(TicketMessage.block == request)
    session.execute(update(TicketMessage).where(*mine).values(changed=seq))


def prune_messages(session: Session, border: datetime, limit: int = 5000) -> int:
    """Delete agent messages older than `border`; comments are kept for the life of the ticket."""
    old = select(TicketMessage.id).where(TicketMessage.created < border).order_by(TicketMessage.created).limit(limit)
    deleted_ids = session.scalars(delete(TicketMessage).where(TicketMessage.id.in_(old)).returning(TicketMessage.id))
    return len(deleted_ids.all())
