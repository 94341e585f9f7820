"""The shape of an alert, as channels get it and deliveries store it.

Its texts come from tickets and agents: `clean_line` and `clean_body` strip control characters, redact secrets and cut.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from models import AlertKind
from redaction import SHAPES

MAX_TITLE_BYTES = 200
MAX_BODY_BYTES = 2000
MAX_LABEL_BYTES = 200
MAX_CHOICES = 8


class Urgency(StrEnum):
    """Urgency of an alert, in the words of web push."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class QuestionKind(StrEnum):
    """Something that a person decides: a ticket's question, a review, or a live agent's question, approval or plan."""

    TICKET = "ticket"
    REVIEW = "review"
    AGENT = "agent"
    APPROVAL = "approval"
    PLAN = "plan"


@dataclass(frozen=True, slots=True)
class AlertChoice:
    """One choice of a question. `key` is short and stays the same, `label` is for people."""

    key: str
    label: str


@dataclass(frozen=True, slots=True)
class AlertQuestion:
    """The question of an alert, which `answers.answer_question` answers.

    `id` names the request of a live run. `version` is the number of the event that asked, among those of the ticket: an
    answer counts only as long as nothing newer was asked. `takes_text`: it may be answered in other words than its choices.
    """

    kind: QuestionKind
    id: str
    version: int
    choices: tuple[AlertChoice, ...] = ()
    takes_text: bool = True


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `key` is the same whenever and wherever it is sent, `subject` names what may settle it.

    `ticket` is an identifier such as `MC-12`, `path` the path of the page that shows more, `project` a slug.
    """

    key: str
    kind: AlertKind
    title: str
    body: str
    path: str
    ticket: str | None = None
    ticket_id: int | None = None
    project: str | None = None
    subject: str | None = None
    urgency: Urgency = Urgency.NORMAL
    question: AlertQuestion | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Alert:
        """Build an alert from the JSON value that `as_json` returned."""
        question = _read_question(data["question"]) if data["question"] else None
        kinds = {"kind": AlertKind(data["kind"]), "urgency": Urgency(data["urgency"])}
        return cls(**{**data, **kinds, "question": question})


def _read_question(data: dict[str, Any]) -> AlertQuestion:
    choices = tuple(AlertChoice(**choice) for choice in data["choices"])
    return AlertQuestion(**{**data, "kind": QuestionKind(data["kind"]), "choices": choices})


def clean_line(text: str, limit: int = MAX_TITLE_BYTES) -> str:
    """Clean a text that is shown on one line."""
    return SHAPES.clean_text(" ".join(text.split()), limit)


def clean_body(text: str, limit: int = MAX_BODY_BYTES) -> str:
    """Clean a text of several lines."""
    return SHAPES.clean_text(text, limit).strip()
