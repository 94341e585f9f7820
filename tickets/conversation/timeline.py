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

PAGE = 100
TOOL_OUTPUT_SHOWN = 16_000


class NewComment(Body):
    """A comment in Markdown."""

    body: Words


def comment(session: Session, ticket_id: int, body: NewComment, actor: Actor) -> TicketComment:
    events.append(session, ticket_id, "comment_added", {"body": body.body[:2000]}, actor)
    return comments.write(session, ticket_id, body.body, actor)


def comments_of(session: Session, ticket_id: int, before: int | None = None, limit: int = PAGE) -> list[TicketComment]:
    """Newest first; page on with `before` = the last id seen."""
    query = select(TicketComment).where(TicketComment.ticket_id == ticket_id)
    if before is not None:
        query = query.where(TicketComment.id < before)
    return list(session.scalars(query.order_by(TicketComment.id.desc()).limit(limit)))


Entry = TicketComment | TicketMessage | QueuedMessage
TABLES = (TicketComment, TicketMessage, QueuedMessage)
LATEST = [
    select(table)
    .where(table.ticket_id == bindparam("ticket"), table.seq < bindparam("before"))
    .order_by(table.seq.desc(), table.id.desc())
    .limit(bindparam("limit", type_=Integer))
    for table in TABLES
]
ENDLESS = 2**31 - 1
"""Above every sequence number."""
MARKS = (
    (TicketComment, TicketComment.seq),
    (TicketMessage, TicketMessage.changed),
    (QueuedMessage, QueuedMessage.changed),
)


def entries(session: Session, ticket_id: int, before: int | None = None, limit: int = PAGE) -> list[Entry]:
    """The last `limit` entries with `seq` below `before`: comments, agent messages and messages to it, oldest first."""
    found: list[Entry] = []
    asked = {"ticket": ticket_id, "before": ENDLESS if before is None else before, "limit": limit}
    for query in LATEST:
        found += session.scalars(query, asked)
    return _in_order(found)[-limit:]


def news(session: Session, ticket_id: int, after: int, limit: int = PAGE) -> list[Entry]:
    """The entries that came or changed after the event with sequence `after`, in the order of the conversation."""
    found: list[Entry] = []
    for table, mark in MARKS:
        query = select(table).where(table.ticket_id == ticket_id, mark > after).order_by(mark).limit(limit)
        found += session.scalars(query)
    return _in_order(found)


def _in_order(found: list[Entry]) -> list[Entry]:
    return sorted(found, key=lambda entry: (entry.seq, entry.created, entry.id))


def since(session: Session, ticket_id: int, moment: datetime) -> list[TicketComment]:
    """What people said after a moment: answers, feedback and comments for the next run's prompt, oldest first."""
    query = select(TicketComment).where(
        TicketComment.ticket_id == ticket_id,
        TicketComment.created > moment,
        TicketComment.author_kind != ActorKind.SYSTEM,
    )
    return list(session.scalars(query.order_by(TicketComment.id)))


# ------------------------------------------------------------------------------------- what the agent's stream becomes

SHOWN = {
    "text": MessageKind.TEXT,
    "thinking": MessageKind.THINKING,
    "tool_call": MessageKind.TOOL_CALL,
    "input": MessageKind.INPUT,
    "question": MessageKind.QUESTION,
    "approval": MessageKind.APPROVAL,
    "error": MessageKind.ERROR,
    "notice": MessageKind.NOTICE,
}


def derive(session: Session, run: Run, kind: str, payload: dict[str, Any], seq: int, at: datetime) -> None:
    """Add one agent event to the displayed conversation; a tool's result joins the row of its call."""
    if kind == "tool_result":
        _join_result(session, run, payload, seq)
    elif kind in SHOWN:
        _add(session, run, SHOWN[kind], payload, seq, at)


def _add(session: Session, run: Run, kind: MessageKind, payload: dict[str, Any], seq: int, at: datetime) -> None:
    told = payloads.read(TextPayload, payload)
    data = {key: value for key, value in payload.items() if key not in ("text", "block", "parent")}
    row = {
        "ticket_id": run.ticket_id,
        "run_id": run.id,
        "kind": kind,
        "author": run.agent,
        "block": block_of(payload, seq),
        "parent": told.parent or None,
        "text": told.text or told.title or told.message,
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
    output = (payload.get("output") or "")[:TOOL_OUTPUT_SHOWN]
    session.execute(
        update(TicketMessage)
        .where(*mine)
        .values(data={**(row.data or {}), **result, "output": output, "ended": True}, changed=seq)
    )


def settled(session: Session, run_id: int, seq: int, request: str | None = None) -> None:
    """A run's question was answered or withdrawn (all of them without `request`): its entry changed with event `seq`."""
    mine = [TicketMessage.run_id == run_id, TicketMessage.kind.in_((MessageKind.QUESTION, MessageKind.APPROVAL))]
    if request is not None:
        mine.append(TicketMessage.block == request)
    session.execute(update(TicketMessage).where(*mine).values(changed=seq))


def prune(session: Session, border: datetime, limit: int = 5000) -> int:
    """Delete agent messages older than `border`; comments are kept for the life of the ticket."""
    old = select(TicketMessage.id).where(TicketMessage.created < border).order_by(TicketMessage.created).limit(limit)
    gone = session.scalars(delete(TicketMessage).where(TicketMessage.id.in_(old)).returning(TicketMessage.id))
    return len(gone.all())
