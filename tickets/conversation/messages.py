"""Message queue to an agent, delivered in order, with separate states for queued, delivered and accepted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, exists, not_, or_, select, update
from sqlalchemy.orm import Session

from database import seconds_between
from models import UNDELIVERED, DeliveryMode, DeliveryState, QueuedMessage, Run, RunState, Ticket, now
from protocol import OfferedMessage, ReceiptState
from tickets.lifecycle.transitions import transition
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, RuntimeBusy
from tickets.shared.inputs import Body, Words
from tickets.shared.lookup import find_live_run
from tickets.shared.rights import Act

OPEN_STATES = (DeliveryState.QUEUED, DeliveryState.DELIVERED)
NOT_INJECTED = "[failed_to_inject]"
UNCONFIRMED = "[unconfirmed] The run ended before its agent confirmed it: it may have been read or not."
MAX_TRIES = 3
MAX_OFFERED = 20
MAX_EVENT_LENGTH = 500
REAPER = Actor.system("reaper")


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
    mine = (QueuedMessage.uuid == str(receipt.get("uuid")), QueuedMessage.ticket_id == run.ticket_id)
    statement = update(QueuedMessage).where(*mine, QueuedMessage.state.in_(before)).values(**values)
    message = session.scalar(statement.returning(QueuedMessage))
    if message is not None and state is DeliveryState.FAILED:
        _report_failures(session, [message])


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
    statement = update(QueuedMessage).where(*conditions).values(**failed)
    _report_failures(session, session.scalars(statement.returning(QueuedMessage)).all())


def _report_failures(session: Session, failed_messages: Sequence[QueuedMessage]) -> None:
    """Append an event for each message that is not queued again by itself and so needs a person."""
    for message in failed_messages:
        if not _is_retried(message):
            payload = {"message": message.id, "reason": message.failure, "body": message.body[:MAX_EVENT_LENGTH]}
            events.append(session, message.ticket_id, "message_failed", payload, REAPER, message.run_id)


def _is_retried(message: QueuedMessage) -> bool:
    return (message.failure or "").startswith(NOT_INJECTED) and message.tries < MAX_TRIES - 1


IS_RETRIED = and_(QueuedMessage.failure.startswith(NOT_INJECTED, autoescape=True), QueuedMessage.tries < MAX_TRIES - 1)
"""`_is_retried` as a condition of a query, for messages that failed."""
NEEDS_PERSON = and_(
    UNDELIVERED, or_(QueuedMessage.state == DeliveryState.EXPIRED, QueuedMessage.failure.is_(None), not_(IS_RETRIED))
)
"""The condition of messages that were not delivered, and which a person has neither sent again nor dismissed."""


def list_undelivered(session: Session, ticket_id: int) -> list[QueuedMessage]:
    """List the messages of a ticket that a person is to send again or to dismiss, oldest first."""
    mine = (QueuedMessage.ticket_id == ticket_id, NEEDS_PERSON)
    return list(session.scalars(select(QueuedMessage).where(*mine).order_by(QueuedMessage.id).limit(MAX_OFFERED)))


def resend_message(session: Session, ticket: Ticket, message_id: int, actor: Actor) -> QueuedMessage:
    """Queue the text of a message that was not delivered again. Raises `ConflictError` when somebody was faster."""
    rights.require(actor, Act.SPEAK)
    message = _settle_undelivered(session, ticket, message_id, "message_resent", actor)
    return queue_message(session, ticket, NewMessage(body=message.body), actor)


def dismiss_message(session: Session, ticket: Ticket, message_id: int, actor: Actor) -> None:
    """Dismiss a message that was not delivered. Raises `ConflictError` when somebody was faster."""
    rights.require(actor, Act.SPEAK)
    _settle_undelivered(session, ticket, message_id, "message_dismissed", actor)


def _settle_undelivered(
    session: Session, ticket: Ticket, message_id: int, event_type: str, actor: Actor
) -> QueuedMessage:
    mine = (QueuedMessage.id == message_id, QueuedMessage.ticket_id == ticket.id, NEEDS_PERSON)
    statement = update(QueuedMessage).where(*mine).values(dismissed=now()).returning(QueuedMessage)
    message = session.scalar(statement)
    if message is None:
        raise ConflictError("The message has already been sent again or dismissed.", number=message_id)
    event = events.append(session, ticket.id, event_type, {"message": message_id}, actor)
    message.changed = event.seq or 0
    return message


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
        IS_RETRIED,
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
        event = events.append(session, ticket_id, event_type, {"message": message_id}, REAPER)
        session.execute(update(QueuedMessage).where(QueuedMessage.id == message_id).values(changed=event.seq))
    return len(rows)
