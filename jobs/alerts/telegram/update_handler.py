"""The reaction to an update: its effect and its number are stored in one transaction, then people get an answer.

Accounts are told apart by `from.id`. One that is not paired gets an answer only to the code that it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from database import StoreError, writing
from jobs.job_context import JobContext
from redaction import SHAPES
from tickets.alerts import answers, telegram_log, telegram_pairing
from tickets.runs.notify_run import notify_run
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError, Forbidden, ProofRequired

from . import commands, message_text
from .alert_sender import build_reply
from .bot_client import BotError
from .bot_updates import BotUpdate, ButtonPress, ChatMessage, MembershipChange, read_update
from .commands import COMMAND_PATTERN, BotReply, CommandCall
from .outbox import HTML, Outbox

PAIRING_COMMANDS = frozenset({"start", "pair"})
MAX_TOAST_UNITS = 200
PAIRING_HINT = "Get a code on the board under Alerts and send it here as /pair CODE."
CODE_REFUSAL = f"This code is not valid: it is used, too old, or wrong. {PAIRING_HINT}"
OLD_BUTTON = "This button is too old. Open the ticket on the board."
STRANGER = "This account is not paired with Mission Control."
PROOF_HINT = "This needs a fresh proof of who you are. Do it on the board."


class UpdateHandler:
    """Handles the updates of one bot, one after the other."""

    def __init__(
        self, context: JobContext, outbox: Outbox, bot_id: int, bot_name: str, log: Callable[[str], None]
    ) -> None:
        self._context = context
        self._outbox = outbox
        self._bot_id = bot_id
        self._bot_name = bot_name
        self._log = log

    def handle(self, data: Mapping[str, Any]) -> None:
        """Handle an update once, however often it comes. Raises `StoreError` when its effect could not be stored."""
        update = read_update(data)
        reply = self._apply(update)
        if reply is not None:
            notify_run(self._context.settings, reply.run_id)
        try:
            self._answer(update, reply)
        except BotError as error:  # the effect counts, not the answer
            self._log(f"answering an update of Telegram: {error}")

    def _apply(self, update: BotUpdate) -> BotReply | None:
        """Store the effect of an update. What is refused is handled all the same."""
        try:
            with writing(self._context.engine) as session:
                if not telegram_log.take_update(session, self._bot_id, update.update_id):
                    return None
                return self._react(session, update)
        except StoreError:
            raise
        except ProofRequired:
            reply = BotReply(PROOF_HINT, is_refusal=True)
        except DomainError as refusal:
            reply = BotReply(refusal.message, is_refusal=True)
        except Exception as error:  # one update must not keep the later ones from being handled
            self._log(f"handling an update of Telegram: {type(error).__name__}: {SHAPES.clean_text(str(error))}")
            reply = BotReply("Something went wrong. See the scheduler's log on the board.", is_refusal=True)
        with writing(self._context.engine) as session:
            telegram_log.take_update(session, self._bot_id, update.update_id)
        return reply

    def _react(self, session: Session, update: BotUpdate) -> BotReply | None:
        if update.callback_query is not None:
            return self._react_to_button(session, update.callback_query)
        if update.my_chat_member is not None:
            _record_membership(session, update.my_chat_member)
        message = update.message
        if message is not None and message.migrate_to_chat_id is not None:
            telegram_pairing.move_chat(session, message.chat.id, message.migrate_to_chat_id)
        if message is None or not message.is_own_text:
            return None
        return self._react_to_message(session, message)

    def _react_to_button(self, session: Session, press: ButtonPress) -> BotReply:
        actor = telegram_pairing.find_actor(session, press.sender.id)
        if actor is None:
            raise Forbidden(STRANGER)
        key, _, number = press.data.partition(":")
        alert = telegram_log.find_alert_by_key(session, key)
        choices = alert.question.choices if alert and alert.question else ()
        if alert is None or not number.isdecimal() or int(number) >= len(choices):
            return BotReply(OLD_BUTTON, is_refusal=True)
        choice = choices[int(number)]
        run_id = answers.answer_question(session, alert, actor, choice=choice.key)
        return BotReply(f"{alert.ticket}: {choice.label}", run_id)

    def _react_to_message(self, session: Session, message: ChatMessage) -> BotReply | None:
        match = COMMAND_PATTERN.fullmatch(message.text)
        name, words = (match["name"], (match["words"] or "").strip()) if match else ("", message.text)
        if match and (match["bot"] or self._bot_name).lower() != self._bot_name.lower():
            return None
        if name in PAIRING_COMMANDS and (words or message.chat.is_private):
            return _pair(session, message, words)
        assert message.sender is not None, "is_own_text has a sender"
        actor = telegram_pairing.find_actor(session, message.sender.id)
        if actor is None:
            return None
        telegram_pairing.update_chat(session, message.chat.id, message.chat.label, is_forum=message.chat.is_forum)
        return self._run(session, actor, message, name, words)

    def _run(self, session: Session, actor: Actor, message: ChatMessage, name: str, words: str) -> BotReply | None:
        """Run a command, or answer the alert that a text replies to. Other texts are for people."""
        call = CommandCall(session, self._context.settings, actor, message, words)
        if name:
            return commands.run_command(call, name)
        reply = commands.answer_alert(call)
        return commands.show_help(call) if reply is None and message.chat.is_private else reply

    def _answer(self, update: BotUpdate, reply: BotReply | None) -> None:
        """Answer every press of a button, and a message where there is something to say, without secrets of tickets."""
        answer = SHAPES.clean_text(reply.text) if reply else ""
        if update.callback_query is not None:
            texts = message_text.split_text(answer, MAX_TOAST_UNITS) or [""]
            is_alert = reply is not None and reply.is_refusal
            self._outbox.answer_button(update.callback_query.id, texts[0], is_alert=is_alert)
        elif update.message is not None and reply is not None:
            for text in message_text.split_text(answer):
                self._send_reply(update.message, text)

    def _send_reply(self, message: ChatMessage, text: str) -> None:
        place = {"message_thread_id": message.topic_id} if message.topic_id is not None else {}
        content = {"text": message_text.format_html(text), "reply_parameters": build_reply(message.message_id)}
        self._outbox.post(message.chat.id, "sendMessage", {**content, **place, **HTML})


def _record_membership(session: Session, change: MembershipChange) -> None:
    problem = "The bot was blocked or removed." if change.is_absent else ""
    telegram_pairing.record_chat_problem(session, change.chat.id, problem)


def _pair(session: Session, message: ChatMessage, code: str) -> BotReply | None:
    """Pair the sender of a valid code, and let the chat get alerts. A wrong one in a group gets no answer."""
    assert message.sender is not None, "is_own_text has a sender"
    if not code:
        return BotReply(PAIRING_HINT)
    person = telegram_pairing.pair_account(session, code, message.sender.id, message.sender.label)
    if person is None:
        return BotReply(CODE_REFUSAL) if message.chat.is_private else None
    telegram_pairing.add_chat(session, message.chat.id)
    telegram_pairing.update_chat(session, message.chat.id, message.chat.label, is_forum=message.chat.is_forum)
    return BotReply(f"You act as {person} now, and this chat gets alerts. /help lists what you can write.")
