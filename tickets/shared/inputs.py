"""Input models of moves and tickets, used to validate API bodies and to build the forms of the pages."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from models import BlockReason, Gate, Landing, Planning, WakeKind

FIRST_YEAR, LAST_YEAR = 1970, 9000
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reverse the order in which the text around them is shown."""


def _refuse_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain a NUL byte")
    return value


def is_control(character: str) -> bool:
    """Return whether a character could disguise a name in a list or a terminal. Joiners, as in emoji, could not."""
    return character in BIDI_CONTROLS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _refuse_controls(value: str) -> str:
    for character in filter(is_control, value):
        raise ValueError(f"must not contain the control character U+{ord(character):04X}")
    return value


def explain_pattern(pattern: str, rule: str) -> BeforeValidator:
    """Build a validator that refuses a text outside of a pattern with the rule in words, not with the pattern."""

    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return BeforeValidator(check)


def _require_time_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must carry a time zone, as in 2026-01-31T09:00:00Z")
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return value


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_refuse_nul)
]
Title = Annotated[Line, AfterValidator(_refuse_controls)]
"""A line that is shown as a name in lists and terminals."""
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_refuse_nul)]
"""The path of a file of a repository, which may begin or end with a space or a line end."""
Prose = Annotated[str, StringConstraints(max_length=100_000), AfterValidator(_refuse_nul)]
Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100_000), AfterValidator(_refuse_nul)
]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
TAG_PATTERN = r"^[a-z0-9][a-z0-9-]{0,23}$"
TagName = Annotated[
    str,
    StringConstraints(pattern=TAG_PATTERN),
    explain_pattern(TAG_PATTERN, "must be at most 24 small letters, digits and dashes, as in needs-design"),
]
"""A tag of a ticket: small letters, digits and dashes. It exists as long as a ticket has it."""
Reference = Annotated[str, StringConstraints(pattern=r"^(MC-)?[1-9][0-9]{0,17}$")]
Moment = Annotated[datetime, AfterValidator(_require_time_zone)]
Level = Literal["low", "normal", "high", "urgent"]


class Body(BaseModel):
    """Base of request bodies and move inputs that rejects unknown keys by name."""

    model_config = ConfigDict(extra="forbid")


class WrapperBody(BaseModel):
    """A message of a run's wrapper, which may be of another version: keys that this one does not know are kept as they came."""

    model_config = ConfigDict(extra="allow")


class Wake(Body):
    """Wake condition of a parked ticket, with exactly the fields that its kind needs."""

    kind: WakeKind
    at: Moment | None = Field(None, title="Wake at")
    ticket: Reference | None = Field(None, title="Wake when this ticket is done")
    probe: list[Line] | None = Field(None, title="Command to probe with", min_length=1, max_length=32)
    minutes: int | None = Field(None, ge=1, le=10_080, title="Minutes")
    agent: Name | None = None

    @model_validator(mode="after")
    def _whole(self) -> Wake:
        needs = {
            WakeKind.TIME: ("at",),
            WakeKind.USAGE_RESET: ("at",),
            WakeKind.TICKET: ("ticket",),
            WakeKind.PROBE: ("probe",),
            WakeKind.AGENT_IDLE: ("agent", "minutes"),
        }.get(self.kind, ())
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a wake of kind {self.kind.value} needs {' and '.join(missing)}")
        return self


class MoveInput(Body):
    """Edits that any move may carry in the same transaction."""

    assigned_to: Name | None = Field(None, title="Owner")
    priority: Level | None = Field(None, title="Priority")


class NoteInput(MoveInput):
    note: Prose | None = Field(None, title="Note")


class TriageInput(NoteInput):
    project: Name | None = Field(None, title="Project")


class CloseInput(MoveInput):
    note: Words = Field(title="Reason for closing without evidence")


class AnswerInput(MoveInput):
    body: Words = Field(title="Answer")


class FeedbackInput(MoveInput):
    """Feedback for another attempt, taken up by the earlier phase `phase` or by the one that `workflow.RULES` selects."""

    body: Words = Field(title="What needs to change?")
    phase: Line | None = Field(None, title="Send back to")


class FinishInput(NoteInput):
    choice: Line | None = Field(None, title="Decision")


class ApproveInput(FinishInput):
    waive: Words | None = Field(None, title="Reason for approving with missing or failed evidence")
    landing: Landing | None = Field(None, title="Branch")


class FailLandingInput(MoveInput):
    body: Words


class LandInput(FailLandingInput):
    """Input of a landing, where `address` is the address of a pull request."""

    address: Words | None = None


class ParkInput(NoteInput):
    wake: Wake = Field(title="Wake")


class BlockInput(MoveInput):
    reason: BlockReason = Field(title="Reason")
    owner: Name = Field(title="Who needs to act")
    next_action: Words = Field(title="What they need to do")


class ReleaseInput(NoteInput):
    not_before: Moment | None = None


class ReopenInput(NoteInput):
    to: Literal["inbox", "todo"] = Field("todo", title="Reopen to")


class AskInput(MoveInput):
    question: dict[str, Any]
    body: Words


class Criterion(Body):
    text: Title
    met: bool = False


def _with_text(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


AcceptanceItem = Annotated[Criterion, BeforeValidator(_with_text, json_schema_input_type=Criterion | Title)]
"""One item of an acceptance list. A plain text is an item that is not met."""


class Phase(Body):
    """One phase of a workflow, in which `gate` must be satisfied when its agent reports completion."""

    name: Title
    agent: Name | None = None
    gate: Gate = Gate.PERSON
    choices: list[Title] = Field(default=[], max_length=8)
    runbook: Line | None = None


def _require_unique_names(phases: list[Phase]) -> list[Phase]:
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ValueError("each phase needs a name of its own")
    return phases


Phases = Annotated[list[Phase], Field(max_length=12), AfterValidator(_require_unique_names)]


class Link(Body):
    """A relationship as seen from the new ticket (`blocked_by` MC-3: the new ticket is blocked by MC-3)."""

    kind: Literal[
        "blocks",
        "blocked_by",
        "child_of",
        "parent_of",
        "duplicate_of",
        "duplicated_by",
        "caused_by",
        "causes",
        "fork_of",
        "relates_to",
    ]
    ticket: Reference


class NewTicket(Body):
    title: Title
    description: Prose = ""
    status: Literal["inbox", "todo", "waiting"] = "todo"
    priority: Level = "normal"
    assigned_to: Name | None = None
    project: Name | None = None
    tags: list[TagName] = Field(default=[], max_length=12)
    acceptance: list[AcceptanceItem] = Field(default=[], max_length=50)
    wake: Wake | None = None
    phases: Phases = []
    gate: Gate | None = None
    campaign_owner: Name | None = None
    planning: Planning | None = None
    not_before: Moment | None = None
    expected_check_in: Moment | None = None
    child_of: Reference | None = None
    relationships: list[Link] = Field(default=[], max_length=20)

    @model_validator(mode="after")
    def _parked_with_wake(self) -> NewTicket:
        if (self.status == "waiting") != (self.wake is not None):
            raise ValueError("a ticket created as waiting needs a wake condition, and only such a ticket has one")
        return self


class EditTicket(Body):
    """Changes to a ticket's fields. Fields left out stay as they are. Null clears an optional field."""

    version: int = Field(ge=1)
    title: Title | None = None
    description: Prose | None = None
    priority: Level | None = None
    assigned_to: Name | None = None
    project: Name | None = None
    tags: list[TagName] | None = Field(None, max_length=12)
    acceptance: list[AcceptanceItem] | None = Field(None, max_length=50)
    gate: Gate | None = None
    planning: Planning | None = None
    campaign_owner: Name | None = None
    not_before: Moment | None = None
    expected_check_in: Moment | None = None
    archived: bool | None = None
