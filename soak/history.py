"""The history of a soak: each operation of a client with its outcome, written down before the store is looked at."""

from __future__ import annotations

import enum
import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


class Answer(enum.StrEnum):
    """The answer to one request, or to an operation as a whole."""

    OK = "ok"
    FAILED = "failed"
    """It was refused."""
    UNKNOWN = "unknown"
    """No answer came, so it was applied or not."""


@dataclass(slots=True)
class ClientOperation:
    """An operation of a client, repeated under one key until it was answered or given up.

    `kind` is create, message, comment or the name of a move, `subject` the identifier of the ticket, `key` a text that is in what
    the operation writes.
    """

    kind: str
    key: str
    subject: str = ""
    tries: list[Answer] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)

    @property
    def answer(self) -> Answer:
        if Answer.OK in self.tries:
            return Answer.OK
        return Answer.UNKNOWN if Answer.UNKNOWN in self.tries else Answer.FAILED


class History:
    """All operations of a soak, each a line of a file when it has ended. Thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.operations: list[ClientOperation] = []

    def record(self, operation: ClientOperation) -> None:
        with self._lock:
            self.operations.append(operation)
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(operation) | {"answer": operation.answer}) + "\n")

    def select(self, kind: str) -> list[ClientOperation]:
        return [operation for operation in self.operations if operation.kind == kind]

    def count(self) -> dict[str, dict[str, int]]:
        """Count the operations by kind and answer."""
        counts = Counter((operation.kind, operation.answer.value) for operation in self.operations)
        kinds = sorted({kind for kind, _ in counts})
        return {kind: {answer.value: counts[kind, answer.value] for answer in Answer} for kind in kinds}

    @property
    def repeats(self) -> int:
        """The number of requests that were sent again."""
        return sum(len(operation.tries) - 1 for operation in self.operations)
