"""The people of a soak: each creates tickets, writes to the agents, answers, approves and unblocks over HTTP."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .board import PROJECT, SPEAKER, Board
from .history import Answer, ClientOperation, History

POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
REQUEST_SECONDS = 10.0
MAX_TRIES = 120
COMMENT_SHARE = 0.5
"""The share of looks at a ticket that add a comment."""
GIVE_UP_SHARE = 0.25
"""The share of operations that are not repeated after an unknown answer."""
END_SECONDS = 240.0
"""How long a ticket may take to its end after the last kill."""
API = "/api/v1"


class ClientRefused(Exception):
    """The board refused a request."""


@dataclass(frozen=True, slots=True)
class TicketKind:
    """A kind of ticket. `messages` are written to its agent while it works. `{key}` in a text is the key of the ticket."""

    name: str
    agent: str
    description: str
    gate: str = "none"
    project: str | None = None
    messages: int = 0


KINDS = (
    TicketKind("script", "script", "```sh\nfor n in 1 2 3 4; do echo step $n; sleep 0.5; done\n```\n"),
    TicketKind("merge", "script", "```sh\necho {key} >{key}.txt\n```\n", gate="person", project=PROJECT),
    TicketKind("talk", SPEAKER, "soak: print 40\nsoak: done All is printed.\n", messages=2),
    TicketKind("ask", SPEAKER, "soak: ask answer-{key} Which one?\nsoak: done It was answered.\n"),
)


class Client(threading.Thread):
    """One person: creates a ticket, follows it to its end, and goes on with the next one until `ending` is set."""

    def __init__(self, board: Board, history: History, number: int, seed: int, ending: threading.Event) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self._board = board
        self._history = history
        self._number = number
        self._ending = ending
        self._draw = random.Random(f"{seed} {number}")  # noqa: S311 - a schedule, no secret
        self._deadline = float("inf")

    def run(self) -> None:
        count = 0
        while not self._ending.is_set():
            count += 1
            kind = KINDS[(self._number + count) % len(KINDS)]
            self.work_ticket(kind, f"k{self._number}-{count}-{self._draw.randrange(1 << 32):08x}")

    def work_ticket(self, kind: TicketKind, key: str) -> None:
        """Create a ticket and follow it to its end."""
        body = {
            "title": f"{kind.name} {key}",
            "description": kind.description.format(key=key),
            "assigned_to": kind.agent,
            "gate": kind.gate,
            "project": kind.project,
        }
        operation = self._perform("create", key, "", f"{API}/tickets", body)
        identifier = operation.result.get("identifier") or self._find_ticket(body["title"])
        if identifier:
            self._follow(kind, key, identifier)

    def _find_ticket(self, title: Any) -> str | None:
        """Look for a ticket whose creation was not answered."""
        items = self._read(f"{API}/tickets?limit=100")["items"]
        return next((item["identifier"] for item in items if item["title"] == title), None)

    def _follow(self, kind: TicketKind, key: str, identifier: str) -> None:
        """Do what the ticket needs until it is done, or until its time is over."""
        messages, comments = kind.messages, 0
        steps: dict[str, Callable[[], object]] = {
            "needs_input": lambda: self._move(identifier, "answer", key, body=f"It is answer-{key}."),
            "in_review": lambda: self._move(identifier, "approve", key),
            "blocked": lambda: self._move(identifier, "unblock", key),
            "waiting": lambda: self._move(identifier, "wake", key),
        }
        while time.monotonic() < self._deadline:
            ticket = self._read(f"{API}/tickets/{identifier}")
            status = ticket["status"]
            if status == "done":
                return
            if status == "in_progress" and messages:
                messages -= 1
                self._send_message(identifier, f"{key}-{messages}")
            elif status in steps and not ticket.get("landing"):
                steps[status]()
            elif self._draw.random() < COMMENT_SHARE:
                comments += 1
                self._add_comment(identifier, f"{key}-c{comments}")
            self._pause()

    def _pause(self) -> None:
        time.sleep(POLL_SECONDS)
        if self._ending.is_set() and self._deadline == float("inf"):
            self._deadline = time.monotonic() + END_SECONDS

    def _send_message(self, identifier: str, key: str) -> None:
        self._perform("message", key, identifier, f"{API}/tickets/{identifier}/messages", {"body": f"Message {key}."})

    def _add_comment(self, identifier: str, key: str) -> None:
        self._perform("comment", key, identifier, f"{API}/tickets/{identifier}/comments", {"body": f"Comment {key}."})

    def _move(self, identifier: str, move: str, key: str, **facts: str) -> None:
        self._perform(move, key, identifier, f"{API}/tickets/{identifier}/moves", {"move": move, **facts})

    def _perform(self, kind: str, key: str, subject: str, path: str, body: dict[str, Any]) -> ClientOperation:
        """Perform one operation under one idempotency key, and record what is known of it."""
        operation = ClientOperation(kind, key, subject)
        gives_up = self._draw.random() < GIVE_UP_SHARE
        request_key = str(UUID(int=self._draw.getrandbits(128), version=4))
        while len(operation.tries) < MAX_TRIES:
            operation.tries.append(self._try_once(operation, path, body, request_key))
            if operation.tries[-1] is not Answer.UNKNOWN or gives_up:
                break
            time.sleep(RETRY_SECONDS)
        self._history.record(operation)
        return operation

    def _try_once(self, operation: ClientOperation, path: str, body: dict[str, Any], key: str) -> Answer:
        try:
            status, answer = self._exchange("POST", path, json.dumps(body).encode(), key)
        except (OSError, http.client.HTTPException, ValueError):
            return Answer.UNKNOWN
        if status < 300:
            operation.result = answer
            return Answer.OK
        return Answer.UNKNOWN if status >= 500 else Answer.FAILED

    def _read(self, path: str) -> Any:
        """Read from the board, however long it is away."""
        while True:
            try:
                status, answer = self._exchange("GET", path)
                if status == 200:
                    return answer
                if status < 500:
                    raise ClientRefused(f"{path} was answered {status}: {answer}")
            except (OSError, http.client.HTTPException, ValueError):
                pass
            time.sleep(RETRY_SECONDS)

    def _exchange(self, method: str, path: str, body: bytes = b"", key: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._board.settings.port, timeout=REQUEST_SECONDS)
        headers = {"Authorization": f"Bearer {self._board.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body or None, headers | ({"Idempotency-Key": key} if key else {}))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()
