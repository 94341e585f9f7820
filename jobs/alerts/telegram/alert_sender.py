"""Alerts in the chats of people: one thread or topic for each ticket, buttons for choices, and an edit when they are settled.

What was sent is recorded part by part, so that an alert which is sent again reaches only the chats that do not have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from database import reading, writing
from jobs.alerts.channel import SendFailed
from jobs.alerts.progress import merge_failures
from models import AlertKind
from tickets.alerts import telegram_log, telegram_pairing
from tickets.alerts.alert import Alert, Urgency, clean_line
from tickets.shared.lookup import get_ticket

from . import message_text
from .bot_client import BotError
from .outbox import HTML, Outbox

MAX_TOPIC_CHARACTERS = 128
REFUSED, FORBIDDEN = 400, 403
UNREACHABLE_TEXTS = ("chat not found", "deactivated", "have no rights to send", "not enough rights to send")
DELETED_TEXTS = ("thread not found", "topic_deleted", "topic_closed", "topic_id_invalid")


@dataclass(frozen=True, slots=True)
class Destination:
    """A chat that gets alerts."""

    chat_id: int
    is_forum: bool


class AlertSender:
    """Sends alerts to every chat and edits them."""

    def __init__(self, engine: Engine, outbox: Outbox, public_url: str | None, log: Callable[[str], None]) -> None:
        self._engine = engine
        self._outbox = outbox
        self._public_url = public_url
        self._log = log

    def send(self, alert: Alert) -> str:
        """Send an alert to every chat that can be reached, and return its key. Raises `SendFailed`."""
        destinations = self._list_destinations(alert)
        failures = [failure for place in destinations if (failure := self._send_to(place, alert))]
        temporary = [failure for failure in failures if not failure.is_permanent]
        if temporary or len(failures) == len(destinations):
            raise merge_failures(temporary or failures)
        return alert.key

    def settle(self, alert: Alert, text: str) -> None:
        """Show under an alert why it needs nobody any more, without its buttons. Raises `SendFailed`."""
        with reading(self._engine) as session:
            rows = telegram_log.list_last_parts(session, alert.key)
        for row in rows:
            content = {"message_id": row.message_id, "text": message_text.format_settlement(alert, text)}
            try:
                self._outbox.post(row.chat_id, "editMessageText", {**content, **HTML})
            except BotError as error:  # it is edited already, deleted, or in a chat that cannot be reached
                if error.code not in (REFUSED, FORBIDDEN):
                    raise _build_failure(error) from None

    def _list_destinations(self, alert: Alert) -> list[Destination]:
        """List the chats that can be reached, or for a test all of them. Raises `SendFailed` when there is none."""
        with reading(self._engine) as session:
            rows = telegram_pairing.list_chats(session)
        destinations = [
            Destination(row.chat_id, row.is_forum) for row in rows if not row.problem or alert.kind is AlertKind.TEST
        ]
        if not destinations:
            words = "No Telegram chat can be reached" if rows else "Nobody is paired with the Telegram bot"
            raise SendFailed(f"{words}. See Alerts on the board.", is_permanent=True)
        return destinations

    def _send_to(self, destination: Destination, alert: Alert) -> SendFailed | None:
        """Send an alert to one chat, and return the failure, if any. One chat does not keep another from its alert."""
        try:
            self._send_parts(destination, alert)
        except BotError as error:
            if error.new_chat_id is not None:
                return self._send_to(self._move_chat(destination, error.new_chat_id), alert)
            self._log(f"Telegram chat {destination.chat_id}: {error}")
            if error.code == FORBIDDEN or error.says(*UNREACHABLE_TEXTS):
                self._record_problem(destination, error.description)
            return _build_failure(error)
        if alert.kind is AlertKind.TEST:
            self._record_problem(destination, "")
        return None

    def _move_chat(self, destination: Destination, new_id: int) -> Destination:
        with writing(self._engine) as session:
            telegram_pairing.move_chat(session, destination.chat_id, new_id)
        return Destination(new_id, is_forum=False)

    def _record_problem(self, destination: Destination, problem: str) -> None:
        with writing(self._engine) as session:
            telegram_pairing.record_chat_problem(session, destination.chat_id, problem)

    def _send_parts(self, destination: Destination, alert: Alert) -> None:
        """Send the parts that a chat does not have yet, the last one with the buttons."""
        texts = message_text.format_parts(alert)
        with reading(self._engine) as session:
            first = telegram_log.count_parts(session, alert.key, destination.chat_id)
        for part in range(first, len(texts)):
            with writing(self._engine) as session:
                key = telegram_log.reserve_message(session, alert, destination.chat_id, part)
            content: dict[str, Any] = {"text": texts[part], "disable_notification": alert.urgency is Urgency.LOW}
            if part == len(texts) - 1:
                content["text"] += message_text.format_ending(alert, self._public_url)
                content |= _build_keyboard(alert, key)
            message = self._post_in_thread(destination, alert, {**content, **HTML})
            with writing(self._engine) as session:
                telegram_log.record_message(session, key, message["message_id"])

    def _post_in_thread(self, destination: Destination, alert: Alert, content: dict[str, Any]) -> dict[str, Any]:
        """Post a message at the place of its ticket, in a new one where somebody has deleted it."""
        try:
            return self._post(destination, alert, content)
        except BotError as error:
            if alert.ticket_id is None or not error.says(*DELETED_TEXTS):
                raise
        with writing(self._engine) as session:
            telegram_log.forget_thread(session, destination.chat_id, alert.ticket_id)
        return self._post(destination, alert, content)

    def _post(self, destination: Destination, alert: Alert, content: dict[str, Any]) -> dict[str, Any]:
        place = self._locate_thread(destination, alert)
        message: dict[str, Any] = self._outbox.post(destination.chat_id, "sendMessage", {**content, **place})
        return message

    def _locate_thread(self, destination: Destination, alert: Alert) -> dict[str, Any]:
        """Build the parameters that put a message into its ticket's topic, or make it a reply to the first message."""
        if alert.ticket_id is None:
            return {}
        with reading(self._engine) as session:
            thread = telegram_log.find_thread(session, destination.chat_id, alert.ticket_id)
        topic_id = thread.topic_id if thread else None
        if destination.is_forum and topic_id is None:
            topic_id = self._create_topic(destination, alert.ticket_id)
        if topic_id is not None:
            return {"message_thread_id": topic_id}
        if thread is None or thread.message_id is None:
            return {}
        return {"reply_parameters": build_reply(thread.message_id)}

    def _create_topic(self, destination: Destination, ticket_id: int) -> int | None:
        """Create the topic of a ticket. None where the bot may not."""
        with reading(self._engine) as session:
            ticket = get_ticket(session, ticket_id)
        name = clean_line(f"{ticket.identifier} {ticket.title}")[:MAX_TOPIC_CHARACTERS]
        try:
            topic = self._outbox.post(destination.chat_id, "createForumTopic", {"name": name})
        except BotError as error:
            if error.code != REFUSED or error.new_chat_id is not None:
                raise
            self._log(f"Telegram chat {destination.chat_id}: no topic for {ticket.identifier}: {error.description}")
            return None
        topic_id: int = topic["message_thread_id"]
        with writing(self._engine) as session:
            telegram_log.record_topic(session, destination.chat_id, ticket_id, topic_id)
        return topic_id


def build_reply(message_id: int) -> dict[str, Any]:
    """Build the parameters of a reply, which is sent even when the other message was deleted."""
    return {"message_id": message_id, "allow_sending_without_reply": True}


def _build_keyboard(alert: Alert, key: str) -> dict[str, Any]:
    """Build a button for each choice. Its data, of at most 64 bytes, is the key of the message and a number."""
    choices = alert.question.choices if alert.question else ()
    rows = [[{"text": choice.label, "callback_data": f"{key}:{number}"}] for number, choice in enumerate(choices)]
    return {"reply_markup": {"inline_keyboard": rows}} if rows else {}


def _build_failure(error: BotError) -> SendFailed:
    return SendFailed(str(error), error.retry_after, is_permanent=error.code in (REFUSED, FORBIDDEN))
