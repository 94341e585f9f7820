"""Message queue to an agent, delivered in order, with separate states for queued, delivered and accepted."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.orm import Session

from database import seconds_between
from models import DeliveryMode, DeliveryState, QueuedMessage, Run, RunState, Ticket, now
from protocol import OfferedMessage, ReceiptState
from tickets.lifecycle.transitions import transition
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, RuntimeBusy
from tickets.shared.inputs import Body, Words
from tickets.shared.lookup import find_live_run

OPEN_STATES = (DeliveryState.QUEUED, DeliveryState.DELIVERED)
NOT_INJECTED = "[failed_to_inject]"
UNCONFIRMED = "[unconfirmed] The run ended before its agent confirmed it: it may have been read or not."
MAX_TRIES = 3
MAX_OFFERED = 20


class NewMessage(Body):
    """A message to an agent and its delivery mode.

    `queue` waits for the turn to end, `interrupt` ends it first, `now` is refused unless the runtime is ready for
    input, `restart` ends the run and lets the next one, in the same conversation, begin with the message.
    """

    body: Words
    mode: Literal["queue", "interrupt", "now", "restart"] = "queue"


def queue_message(
    session: Session, ticket: Ticket, body: NewMessage, actor: Actor, key: str | None = None
) -> QueuedMessage:
    """Queue one message for the ticket's agent, under the sender's UUID (`key`) if there is one.

    Raises `RuntimeBusy` for mode `now` while the runtime is not idle, `ConflictError` for a UUID already in use.
    """
    if key is not None and session.scalar(select(QueuedMessage.id).where(QueuedMessage.uuid == key)) is not None:
        raise ConflictError("A message with this id already exists.", id=key)
    run = find_live_run(session, ticket.id)
    if body.mode == "now":
        _require_ready(ticket, run)
    mode = DeliveryMode.INTERRUPT if body.mode == "interrupt" else DeliveryMode.QUEUE
    key = key or str(uuid.uuid4())
    event = events.append(
        session, ticket.id, "message_queued", {"uuid": key, "mode": body.mode, "body": body.body[:2000]}, actor
    )
    message = QueuedMessage(
        uuid=key, ticket_id=ticket.id, author=actor.name, body=body.body, mode=mode, seq=event.seq, changed=event.seq
    )
    session.add(message)
    session.flush()
    if body.mode == "restart" and run is not None:
        transition(session, ticket.id, "release", actor)
        session.execute(update(Ticket).where(Ticket.id == ticket.id).values(resume=True))
    return message


def _require_ready(ticket: Ticket, run: Run | None) -> None:
    status = run.state.value if run else "closed"
    if status != RunState.IDLE.value:
        raise RuntimeBusy(
            f"Ticket runtime is not ready for input (status={status}). Wait for the current turn to finish, queue the"
            " message, or explicitly interrupt/restart the runtime",
            ticket=ticket.identifier,
            status=status,
        )


def offer_messages(session: Session, run: Run) -> list[OfferedMessage]:
    """Return the queued messages for this run, oldest first. A message is offered until its receipt arrives."""
    if run.stop_code:
        return []
    query = (
        select(QueuedMessage)
        .where(
            QueuedMessage.ticket_id == run.ticket_id,
            QueuedMessage.state == DeliveryState.QUEUED,
            or_(QueuedMessage.run_id.is_(None), QueuedMessage.run_id == run.id),
        )
        .order_by(QueuedMessage.id)
        .limit(MAX_OFFERED)
    )
    rows = list(session.scalars(query))
    new_ids = [row.id for row in rows if row.run_id is None]
    if new_ids:
        session.execute(update(QueuedMessage).where(QueuedMessage.id.in_(new_ids)).values(run_id=run.id, offered=now()))
    return [OfferedMessage(row.id, row.uuid, row.body, row.mode.value) for row in rows]


RECEIPTS: dict[str, tuple[DeliveryState, tuple[DeliveryState, ...]]] = {
    ReceiptState.QUEUED: (DeliveryState.QUEUED, (DeliveryState.QUEUED,)),
    ReceiptState.DELIVERED: (DeliveryState.DELIVERED, (DeliveryState.QUEUED,)),
    ReceiptState.ACCEPTED: (DeliveryState.ACCEPTED, OPEN_STATES),
    ReceiptState.FAILED: (DeliveryState.FAILED, OPEN_STATES),
    ReceiptState.CANCELLED: (DeliveryState.FAILED, OPEN_STATES),
    ReceiptState.REFUSED: (DeliveryState.FAILED, OPEN_STATES),
}


def apply_receipt(session: Session, run: Run, receipt: dict[str, Any], seq: int) -> None:
    """Apply one receipt from the agent's own stream. A state is never reverted."""
    receipt_states = RECEIPTS.get(str(receipt.get("state")))
    if receipt_states is None:
        return
    state, before = receipt_states
    values: dict[str, Any] = {"state": state, "run_id": run.id, "changed": seq}
    if state is DeliveryState.FAILED:
        mark = NOT_INJECTED if receipt["state"] == ReceiptState.FAILED else f"[{receipt['state']}]"
        values["failure"] = f"{mark} {receipt.get('detail') or 'the agent did not take it'}"
    elif state is DeliveryState.QUEUED:
        values["offered"] = None  # its wrapper has it, for as long as the turn lasts, so it no longer expires
    else:
        values[state.value] = now()
    session.execute(
        update(QueuedMessage)
        .where(
            QueuedMessage.uuid == str(receipt.get("uuid")),
            QueuedMessage.ticket_id == run.ticket_id,
            QueuedMessage.state.in_(before),
        )
        .values(**values)
    )


def release_messages(session: Session, run_id: int) -> None:
    """Make the undelivered messages of an ended run available to the next one."""
    waiting = (QueuedMessage.run_id == run_id, QueuedMessage.state == DeliveryState.QUEUED)
    session.execute(update(QueuedMessage).where(*waiting).values(run_id=None, offered=None))


def fail_unconfirmed(session: Session, run_id: int, seq: int) -> None:
    """Mark the unconfirmed messages of an ended run as failed.

    The agent may have read them, so they are not sent again automatically.
    """
    conditions = (QueuedMessage.run_id == run_id, QueuedMessage.state == DeliveryState.DELIVERED)
    failed = {"state": DeliveryState.FAILED, "failure": UNCONFIRMED, "changed": seq}
    session.execute(update(QueuedMessage).where(*conditions).values(**failed))


def list_messages(session: Session, ticket_id: int, limit: int = 100) -> list[QueuedMessage]:
    """List the newest messages of a ticket, newest first."""
    query = (
        select(QueuedMessage).where(QueuedMessage.ticket_id == ticket_id).order_by(QueuedMessage.id.desc()).limit(limit)
    )
    return list(session.scalars(query))


def get(session: Session, message_id: int) -> QueuedMessage:
    """Return an existing message."""
    return session.get_one(QueuedMessage, message_id)


def expire_messages(session: Session, after_seconds: int) -> int:
    """Expire messages that a live run has not taken within `after_seconds`. Messages without a live run wait.

    The run must have been heard after that time: when a machine wakes from sleep, its runs first take their messages.
    """
    is_heard_since = exists().where(
        Run.id == QueuedMessage.run_id, seconds_between(QueuedMessage.offered, Run.heartbeat) > after_seconds
    )
    stale = (
        QueuedMessage.state == DeliveryState.QUEUED,
        QueuedMessage.offered < now() - timedelta(seconds=after_seconds),
        is_heard_since,
    )
    return _update_messages(session, stale, "message_expired", {"state": DeliveryState.EXPIRED})


def retry_failed(session: Session) -> int:
    """Queue messages again that could not be delivered to a run that has since ended, up to `MAX_TRIES` times in all."""
    ended = select(Run.id).where(Run.state == RunState.ENDED)
    failed = (
        QueuedMessage.state == DeliveryState.FAILED,
        QueuedMessage.failure.startswith(NOT_INJECTED, autoescape=True),
        QueuedMessage.tries < MAX_TRIES - 1,
        QueuedMessage.run_id.in_(ended),
    )
    again = {"state": DeliveryState.QUEUED, "run_id": None, "offered": None, "tries": QueuedMessage.tries + 1}
    return _update_messages(session, failed, "message_queued_again", again)


def _update_messages(
    session: Session, conditions: tuple[ColumnElement[bool], ...], event_type: str, values: dict[str, Any]
) -> int:
    """Update these messages and append an event to the ticket of each."""
    rows = session.execute(
        update(QueuedMessage).where(*conditions).values(**values).returning(QueuedMessage.id, QueuedMessage.ticket_id)
    ).all()
    for message_id, ticket_id in rows:
        event = events.append(session, ticket_id, event_type, {"message": message_id}, Actor.system("reaper"))
        session.execute(update(QueuedMessage).where(QueuedMessage.id == message_id).values(changed=event.seq))
    return len(rows)
