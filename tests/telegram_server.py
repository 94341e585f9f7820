"""A stand-in of the Bot API of Telegram on loopback, which refuses what the real one refuses, with its words."""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "123456789:AAF0cZ3w4kqPz9vT1yR8bN6mL2hJ5gD7sXe"
BOT_NAME = "mc_test_bot"
MAX_UNITS = 4096
MAX_DATA_BYTES = 64
HTML_TAGS = frozenset({"b", "i", "a"})

Params = dict[str, Any]


class Refusal(Exception):
    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.answer = {"ok": False, "error_code": code, "description": description} | (
            {"parameters": parameters} if parameters else {}
        )
        self.code = code


class _Markup(HTMLParser):
    """The text of an HTML message. Raises `Refusal` for tags that are unknown or not closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.plain = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        if self._open:
            raise Refusal(
                400, f"Bad Request: can't parse entities: can't find end tag corresponding to \"{self._open[0]}\""
            )

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in HTML_TAGS:
            raise Refusal(400, f'Bad Request: can\'t parse entities: unsupported start tag "{tag}"')
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            raise Refusal(400, f'Bad Request: can\'t parse entities: unexpected end tag "{tag}"')

    def handle_data(self, data: str) -> None:
        self.plain += data


@dataclass
class Chat:
    """A chat of the server. `blocks` is the description of a refusal, `moved_to` the id of its supergroup."""

    id: int
    is_forum: bool = False
    blocks: str = ""
    moved_to: int | None = None
    topics: dict[int, str] = field(default_factory=dict)

    def describe(self) -> Params:
        kind = "private" if self.id > 0 else "supergroup" if self.is_forum else "group"
        name = {"first_name": "Al <ice>"} if self.id > 0 else {"title": "Team", "is_forum": self.is_forum}
        return {"id": self.id, "type": kind, **name}


@dataclass
class Message:
    chat_id: int
    message_id: int
    params: Params

    @property
    def plain(self) -> str:
        return _Markup(self.params["text"]).plain

    @property
    def buttons(self) -> dict[str, str]:
        """The data of each button by its label."""
        rows = self.params.get("reply_markup", {}).get("inline_keyboard", [])
        return {button["text"]: button["callback_data"] for row in rows for button in row}


class BotServer:
    """The server of one bot. `on_idle` is called by a poll that has nothing to return, and ends it; else it waits.

    `on_message` is called with a message that the bot sends, before the bot gets its answer.
    """

    def __init__(self) -> None:
        self.chats: dict[int, Chat] = {}
        self.messages: list[Message] = []
        self.calls: list[tuple[str, Params]] = []
        self.faults: deque[tuple[str, Refusal]] = deque()
        self.updates: list[Params] = []
        self.polls = 0
        self.redelivers = False
        self.on_idle: Callable[[], object] | None = None
        self.on_message: Callable[[Message], object] | None = None
        self._numbers = itertools.count(100)
        self._changed = threading.Condition()
        self._is_closing = False
        handler = type("Handler", (_Handler,), {"bot_server": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    # What people do

    def add_chat(self, chat_id: int, **values: Any) -> Chat:
        self.chats[chat_id] = Chat(chat_id, **values)
        return self.chats[chat_id]

    def write(self, user_id: int, chat_id: int, text: str, reply_to: int | None = None, **more: Any) -> Params:
        """Have a user write a message to a chat."""
        reply = {"reply_to_message": {"message_id": reply_to}} if reply_to else {}
        sender = {"id": user_id, "is_bot": False, "first_name": "Al <ice>", "username": f"user{user_id}"}
        message = {"message_id": next(self._numbers), "from": sender, "chat": self.chats[chat_id].describe()}
        return self.push({"message": {**message, "text": text, **reply, **more}})

    def press(self, user_id: int, data: str) -> Params:
        """Have a user press a button."""
        return self.push({"callback_query": {"id": str(next(self._numbers)), "from": {"id": user_id}, "data": data}})

    def push(self, content: Params) -> Params:
        update = {"update_id": next(self._numbers), **content}
        with self._changed:
            self.updates.append(update)
            self._changed.notify_all()
        return update

    def list_texts(self, chat_id: int) -> list[str]:
        return [message.plain for message in self.messages if message.chat_id == chat_id]

    def list_answers(self) -> list[str]:
        """List what the presses of buttons were answered with."""
        return [params["text"] for method, params in self.calls if method == "answerCallbackQuery"]

    # What the bot calls

    def call(self, method: str, params: Params) -> Any:
        self.calls.append((method, params))
        if self.faults and self.faults[0][0] == method:
            raise self.faults.popleft()[1]
        action = getattr(self, f"_{method}", None)
        if action is None:
            raise Refusal(404, "Not Found")
        return action(params)

    def _getMe(self, _: Params) -> Params:
        return {"id": int(TOKEN.partition(":")[0]), "is_bot": True, "username": BOT_NAME}

    def _getUpdates(self, params: Params) -> list[Params]:
        with self._changed:
            self.polls += 1
            mine = self.polls
            self._changed.notify_all()  # an earlier poll is ended
            if not self.redelivers:
                self.updates = [update for update in self.updates if update["update_id"] >= params["offset"]]
            if self.updates or self.on_idle is None:
                self._changed.wait_for(
                    lambda: self.updates or self.polls != mine or self._is_closing, timeout=params["timeout"]
                )
            else:
                self.on_idle()
            if self.polls != mine:
                raise Refusal(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                )
            return list(self.updates)

    def _sendMessage(self, params: Params) -> Params:
        chat = self._reach(params)
        self._check_text(params)
        topic = params.get("message_thread_id")
        if topic is not None and topic not in chat.topics:
            raise Refusal(400, "Bad Request: message thread not found")
        message = Message(chat.id, next(self._numbers), params)
        self.messages.append(message)
        if self.on_message is not None:
            self.on_message(message)
        return {"message_id": message.message_id, "chat": chat.describe()}

    def _editMessageText(self, params: Params) -> Params:
        chat = self._reach(params)
        self._check_text(params)
        messages = [m for m in self.messages if (m.chat_id, m.message_id) == (chat.id, params["message_id"])]
        if not messages:
            raise Refusal(400, "Bad Request: message to edit not found")
        content_fields = ("text", "reply_markup")
        if [messages[0].params.get(name) for name in content_fields] == [params.get(name) for name in content_fields]:
            raise Refusal(400, "Bad Request: message is not modified: specified new message content is the same")
        messages[0].params = params
        return {"message_id": params["message_id"]}

    def _answerCallbackQuery(self, params: Params) -> bool:
        if len(params["text"]) > 200:
            raise Refusal(400, "Bad Request: MESSAGE_TOO_LONG")
        return True

    def _createForumTopic(self, params: Params) -> Params:
        chat = self._reach(params)
        if not chat.is_forum:
            raise Refusal(400, "Bad Request: the chat is not a forum")
        topic = next(self._numbers)
        chat.topics[topic] = params["name"]
        return {"message_thread_id": topic, "name": params["name"]}

    def _reach(self, params: Params) -> Chat:
        chat = self.chats.get(params["chat_id"])
        if chat is None:
            raise Refusal(400, "Bad Request: chat not found")
        if chat.moved_to is not None:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            raise Refusal(400, text, migrate_to_chat_id=chat.moved_to)
        if chat.blocks:
            raise Refusal(403, chat.blocks)
        return chat

    def _check_text(self, params: Params) -> None:
        plain = _Markup(params["text"]).plain if params.get("parse_mode") == "HTML" else params["text"]
        if not plain.strip():
            raise Refusal(400, "Bad Request: message text is empty")
        if len(plain.encode("utf-16-le")) // 2 > MAX_UNITS:
            raise Refusal(400, "Bad Request: message is too long")
        buttons = Message(0, 0, params).buttons
        if any(not 1 <= len(data.encode()) <= MAX_DATA_BYTES for data in buttons.values()):
            raise Refusal(400, "Bad Request: BUTTON_DATA_INVALID")

    def close(self) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    bot_server: BotServer
    wbufsize = -1  # one packet for head and body, which else wait for each other

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prefix, _, method = self.path.rpartition("/")
        try:
            if prefix != f"/bot{TOKEN}":
                raise Refusal(401, "Unauthorized")
            status, answer = 200, {"ok": True, "result": self.bot_server.call(method, body)}
        except Refusal as refusal:
            status, answer = refusal.code, refusal.answer
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serve_bot() -> Iterator[BotServer]:
    """Serve the stand-in for the length of the block."""
    bot_server = BotServer()
    thread = threading.Thread(target=bot_server.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield bot_server
    finally:
        bot_server.close()
        bot_server.server.shutdown()
        bot_server.server.server_close()
        thread.join()
