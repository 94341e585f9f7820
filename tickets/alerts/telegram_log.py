"""Which updates of the Telegram bot were handled, and what was sent to which chat."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import AlertChannel, HealthStatus, TelegramBot, TelegramMessage, TelegramThread, now
from tickets.operations.health_check import HealthCheck

from .alert import Alert, clean_line

CHANNEL = "telegram"
NUMBERING_LIFETIME = timedelta(days=6)
"""After a week without updates Telegram numbers them anew, beginning anywhere."""
BUTTON_LIFETIME = timedelta(days=30)
KEY_BYTES = 16
IS_SENT = TelegramMessage.message_id.is_not(None)
MAX_PROBLEM_BYTES = 500


# ------------------------------------------------------------------------------------------------------------- updates


def open_bot(session: Session, bot_id: int) -> None:
    """Begin to use a bot in place of an earlier one."""
    session.execute(delete(TelegramBot).where(TelegramBot.bot_id != bot_id))
    session.execute(insert_or_ignore(session, TelegramBot).values(bot_id=bot_id, changed=now()))


def record_name(session: Session, bot_id: int, name: str) -> None:
    session.execute(update(TelegramBot).where(TelegramBot.bot_id == bot_id).values(name=name))


def get_next_update(session: Session, bot_id: int) -> int:
    """Return the number of the first update that was not handled, 0 where the numbers may have begun anew."""
    bot = session.get(TelegramBot, bot_id)
    return bot.next_update if bot is not None and bot.changed > now() - NUMBERING_LIFETIME else 0


def take_update(session: Session, bot_id: int, update_id: int) -> bool:
    """Record that an update is handled, in the transaction of its effect. False when it was handled before."""
    is_new = or_(TelegramBot.next_update <= update_id, TelegramBot.changed <= now() - NUMBERING_LIFETIME)
    rows = session.execute(
        update(TelegramBot)
        .where(TelegramBot.bot_id == bot_id, is_new)
        .values(next_update=update_id + 1, changed=now())
        .returning(TelegramBot.bot_id)
    )
    return rows.first() is not None


def has_problem(session: Session, bot_id: int, problem: str) -> bool:
    """Return whether a bot has this very problem, or none for an empty text."""
    return session.scalar(select(TelegramBot.problem).where(TelegramBot.bot_id == bot_id)) == clean_line(
        problem, MAX_PROBLEM_BYTES
    )


def record_problem(session: Session, bot_id: int, problem: str) -> None:
    """Record why the updates of a bot cannot be received. An empty text clears it."""
    session.execute(
        update(TelegramBot).where(TelegramBot.bot_id == bot_id).values(problem=clean_line(problem, MAX_PROBLEM_BYTES))
    )


def find_bot(session: Session) -> TelegramBot | None:
    """Find the bot that is in use."""
    return session.scalars(select(TelegramBot)).first()


def check_bot(session: Session) -> list[HealthCheck]:
    """Check that the updates of the bot are received, where Telegram is in use."""
    is_enabled = session.scalar(select(AlertChannel.enabled).where(AlertChannel.name == CHANNEL))
    bot = find_bot(session) if is_enabled else None
    if bot is None:
        return []
    if not bot.problem:
        return [HealthCheck(CHANNEL, HealthStatus.OK, f"receives as @{bot.name}")]
    return [HealthCheck(CHANNEL, HealthStatus.WARNING, bot.problem, "Open Alerts to see the bot's chats.")]


# ------------------------------------------------------------------------------------------------------------ messages


def reserve_message(session: Session, alert: Alert, chat_id: int, part: int) -> str:
    """Record a part of an alert before it is sent, since a button may be pressed at once, and return its key.

    A part that is sent again, as its first attempt may have failed, keeps its key.
    """
    values = {"chat_id": chat_id, "alert_key": alert.key, "part": part, "ticket_id": alert.ticket_id}
    values |= {"key": secrets.token_urlsafe(KEY_BYTES), "alert": alert.as_json(), "created": now()}
    session.execute(insert_or_ignore(session, TelegramMessage).values(**values))
    return session.scalars(
        select(TelegramMessage.key).where(*_match_parts(alert.key, chat_id), TelegramMessage.part == part)
    ).one()


def record_message(session: Session, key: str, message_id: int) -> None:
    """Record that a message was sent. The first one about a ticket is what the later ones reply to."""
    statement = update(TelegramMessage).where(TelegramMessage.key == key).values(message_id=message_id)
    row = session.execute(statement.returning(TelegramMessage.chat_id, TelegramMessage.ticket_id)).first()
    if row is not None and row.ticket_id is not None:
        thread = {"chat_id": row.chat_id, "ticket_id": row.ticket_id, "message_id": message_id}
        session.execute(insert_or_ignore(session, TelegramThread).values(**thread))


def count_parts(session: Session, alert_key: str, chat_id: int) -> int:
    """Count the parts of an alert that a chat has."""
    return session.scalar(select(func.count()).where(*_match_parts(alert_key, chat_id), IS_SENT)) or 0


def _match_parts(alert_key: str, chat_id: int) -> tuple[ColumnElement[bool], ...]:
    return TelegramMessage.alert_key == alert_key, TelegramMessage.chat_id == chat_id


def list_last_parts(session: Session, alert_key: str) -> list[TelegramMessage]:
    """List the last part of an alert in each chat that has it."""
    rows = session.scalars(
        select(TelegramMessage).where(TelegramMessage.alert_key == alert_key, IS_SENT).order_by(TelegramMessage.part)
    )
    return list({row.chat_id: row for row in rows}.values())


def find_alert_by_key(session: Session, key: str) -> Alert | None:
    """Find the alert to which a button belongs, None for one that is too old."""
    mine = (TelegramMessage.key == key, TelegramMessage.created > now() - BUTTON_LIFETIME)
    return _read_alert(session.scalars(select(TelegramMessage).where(*mine)).first())


def find_alert_by_message(session: Session, chat_id: int, message_id: int) -> Alert | None:
    """Find the alert that a message of a chat is a part of."""
    mine = (TelegramMessage.chat_id == chat_id, TelegramMessage.message_id == message_id)
    return _read_alert(session.scalars(select(TelegramMessage).where(*mine)).first())


def _read_alert(row: TelegramMessage | None) -> Alert | None:
    return None if row is None else Alert.from_json(row.alert)


# ------------------------------------------------------------------------------------------------------------- threads


def find_thread(session: Session, chat_id: int, ticket_id: int) -> TelegramThread | None:
    return session.get(TelegramThread, (chat_id, ticket_id))


def find_ticket_of_topic(session: Session, chat_id: int, topic_id: int) -> int | None:
    """Find the ticket to which a topic of a forum belongs."""
    mine = (TelegramThread.chat_id == chat_id, TelegramThread.topic_id == topic_id)
    return session.scalars(select(TelegramThread.ticket_id).where(*mine)).first()


def record_topic(session: Session, chat_id: int, ticket_id: int, topic_id: int) -> None:
    """Record the topic of a ticket in a forum."""
    session.merge(TelegramThread(chat_id=chat_id, ticket_id=ticket_id, topic_id=topic_id, message_id=None))


def forget_thread(session: Session, chat_id: int, ticket_id: int) -> None:
    """Forget the place of a ticket in a chat, as somebody has deleted it there."""
    mine = (TelegramThread.chat_id == chat_id, TelegramThread.ticket_id == ticket_id)
    session.execute(delete(TelegramThread).where(*mine))
