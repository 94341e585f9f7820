"""The messages of the bot, each sent in its turn, and again after a pause that Telegram asks for."""

from __future__ import annotations

from typing import Any

from .bot_client import BotClient, BotError, Parameters
from .chat_pacer import ChatPacer

MAX_TRIES = 3
MAX_PAUSE_SECONDS = 60.0
"""Longest pause that is waited out in place."""
HTML = {"parse_mode": "HTML", "link_preview_options": {"is_disabled": True}}
"""Without previews, for which Telegram would open every address that an agent has written."""


class Outbox:
    """Sends messages to chats at the pace that Telegram allows. All threads of a channel share it."""

    def __init__(self, client: BotClient, pacer: ChatPacer) -> None:
        self._client = client
        self._pacer = pacer

    def post(self, chat_id: int, method: str, parameters: Parameters) -> Any:
        """Make a call that counts as a message to a chat. Raises `BotError`, for a longer pause too."""
        with self._pacer.hold_turn(chat_id):
            for _ in range(MAX_TRIES - 1):
                try:
                    return self._try_post(chat_id, method, parameters)
                except BotError as error:
                    if error.retry_after is None or error.retry_after > MAX_PAUSE_SECONDS:
                        raise
            return self._try_post(chat_id, method, parameters)

    def _try_post(self, chat_id: int, method: str, parameters: Parameters) -> Any:
        self._pacer.wait(chat_id)
        try:
            return self._client.call(method, {"chat_id": chat_id, **parameters})
        except BotError as error:
            if error.retry_after is not None:
                self._pacer.pause(chat_id, error.retry_after)
            raise

    def answer_button(self, callback_id: str, text: str, *, is_alert: bool) -> None:
        """Answer the press of a button, which else goes on showing that it waits. Raises `BotError`."""
        self._client.call(
            "answerCallbackQuery", {"callback_query_id": callback_id, "text": text, "show_alert": is_alert}
        )
