"""The parts of an update of the Bot API that the bot uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

UPDATE_KINDS = ["message", "callback_query", "my_chat_member"]
"""Kinds of updates that are requested. An edited message is none: what was written once has been acted on."""
ABSENT_STATES = frozenset({"kicked", "left"})


class TelegramUser(BaseModel):
    id: int
    is_bot: bool = False
    first_name: str = ""
    username: str = ""

    @property
    def label(self) -> str:
        return f"@{self.username}" if self.username else self.first_name


class TelegramPlace(BaseModel):
    """A chat as an update describes it."""

    id: int
    type: str = "private"
    title: str = ""
    first_name: str = ""
    username: str = ""
    is_forum: bool = False

    @property
    def is_private(self) -> bool:
        return self.type == "private"

    @property
    def label(self) -> str:
        return self.title or (f"@{self.username}" if self.username else self.first_name)


class RepliedMessage(BaseModel):
    message_id: int


class ChatMessage(BaseModel):
    message_id: int
    chat: TelegramPlace
    sender: TelegramUser | None = Field(None, alias="from")
    text: str = ""
    message_thread_id: int | None = None
    is_topic_message: bool = False
    reply_to_message: RepliedMessage | None = None
    forward_origin: Any = None
    via_bot: Any = None
    migrate_to_chat_id: int | None = None

    @property
    def is_own_text(self) -> bool:
        """Return whether a person has written this text, and not forwarded it or let a bot write it."""
        is_person = self.sender is not None and not self.sender.is_bot
        return is_person and bool(self.text) and self.forward_origin is None and self.via_bot is None

    @property
    def topic_id(self) -> int | None:
        return self.message_thread_id if self.is_topic_message else None


class ButtonPress(BaseModel):
    id: str
    sender: TelegramUser = Field(alias="from")
    data: str = ""


class MemberState(BaseModel):
    status: str


class MembershipChange(BaseModel):
    """A change of what the bot may do in a chat, such as a person blocking it."""

    chat: TelegramPlace
    new_chat_member: MemberState

    @property
    def is_absent(self) -> bool:
        return self.new_chat_member.status in ABSENT_STATES


class BotUpdate(BaseModel):
    update_id: int
    message: ChatMessage | None = None
    callback_query: ButtonPress | None = None
    my_chat_member: MembershipChange | None = None


def read_update(data: Mapping[str, Any]) -> BotUpdate:
    """Read an update. Of one in an unexpected form only the number counts."""
    try:
        return BotUpdate.model_validate(data)
    except ValidationError:
        return BotUpdate(update_id=data["update_id"])
