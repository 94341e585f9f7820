"""The fields of a ticket, each declared once: forms, side panel, command line, API and sentences about edits read this table.

A new plain field is a column (a migration and `models.Ticket`), an entry and a key of `TicketJson` here, and a line in
each request model (`inputs.NewTicket`, `inputs.EditTicket`). `tests/test_ticket_fields.py` compares these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import Field

from models import Priority

from . import display_names
from .responses import Moment, PriorityName, Response


class Control(StrEnum):
    """Way to enter a field. `ITEMS` is a list that a new ticket's form takes one item a line."""

    TEXT = "text"
    PROSE = "prose"
    SELECT = "select"
    TAGS = "tags"
    MOMENT = "moment"
    FLAG = "flag"
    ITEMS = "items"


class Choices(StrEnum):
    """The rows of the database that a field chooses from, by their key in `web.site.forms.choices`."""

    MEMBERS = "assigned_to"
    PROJECTS = "project"
    TAGS = "tag"


class Section(StrEnum):
    """The part of the side panel that lists a field."""

    STATE = "state"
    PEOPLE = "people"
    TIMING = "timing"


class Group(StrEnum):
    """The part of a new ticket's form that holds a field. The template draws each field of `OWN_PLACE` by itself."""

    OWN_PLACE = "own_place"
    BASICS = "basics"
    TIMES = "times"


@dataclass(frozen=True, slots=True)
class Creation:
    """Way to enter a field for a new ticket. Without `group` the form leaves it out, `label` and `help` replace the field's."""

    group: Group | None = Group.BASICS
    label: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """The option of `mc ticket create`. Its name is the field's unless `flag` replaces it."""

    flag: str = ""
    metavar: str | None = None
    help: str = ""


@dataclass(frozen=True, slots=True)
class TicketField:
    """One field of a ticket. The defaults are those of an optional line of text.

    `name` is the key in JSON and forms, `column` the attribute of `Ticket` (empty: kept elsewhere), `noun` the name in a
    sentence. A `SELECT` offers `labels` (value: label) or `choices`; `empty_label` is the choice that clears it.
    """

    name: str
    label: str
    control: Control = Control.TEXT
    help: str = ""
    noun: str = ""
    column: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    choices: Choices | None = None
    empty_label: str = ""
    nullable: bool = True
    editable: bool = True
    is_for_people: bool = False
    section: Section | None = Section.STATE
    creation: Creation | None = Creation()
    option: Option = Option()

    @property
    def column_name(self) -> str:
        return self.name if self.column is None else self.column

    @property
    def sentence_name(self) -> str:
        return self.noun or self.label.lower()

    @property
    def input_type(self) -> str:
        """The type of the form field, as `ui.field` names it."""
        return {Control.SELECT: "select", Control.MOMENT: "datetime-local"}.get(self.control, "text")


def _read_only(name: str, label: str, section: Section, **facts: Any) -> TicketField:
    return TicketField(name, label, section=section, editable=False, creation=None, **facts)


FIELDS = (
    TicketField("title", "Title", nullable=False, section=None, creation=Creation(Group.OWN_PLACE)),
    TicketField(
        "description",
        "Description",
        Control.PROSE,
        nullable=False,
        section=None,
        creation=Creation(Group.OWN_PLACE),
        option=Option(help="What you want, in Markdown; - reads it from standard input."),
    ),
    TicketField(
        "project",
        "Project",
        Control.SELECT,
        column="project_id",
        choices=Choices.PROJECTS,
        empty_label="No project",
        option=Option(metavar="SLUG"),
    ),
    TicketField(
        "assigned_to",
        "Owner",
        Control.SELECT,
        choices=Choices.MEMBERS,
        empty_label="Nobody yet",
        section=Section.PEOPLE,
        option=Option("--assign", "NAME", "Who works on it."),
    ),
    _read_only("requester", "Created by", Section.PEOPLE, choices=Choices.MEMBERS),
    TicketField(
        "campaign_owner",
        "On hold by",
        Control.SELECT,
        help="While a ticket is on hold, it does not start.",
        noun="hold",
        choices=Choices.MEMBERS,
        empty_label="Nobody",
        is_for_people=True,
        section=Section.PEOPLE,
        creation=Creation(Group.TIMES),
        option=Option("--held-by", "NAME", "Who put it on hold: it does not start until they release it."),
    ),
    TicketField(
        "priority",
        "Priority",
        Control.SELECT,
        labels={priority.label: priority.label.capitalize() for priority in reversed(Priority)},
        nullable=False,
        section=None,
    ),
    TicketField(
        "gate",
        "Completed when",
        Control.SELECT,
        noun="completion rule",
        labels={gate.value: words for gate, words in display_names.GATES.items()},
        nullable=False,
        is_for_people=True,
        creation=Creation(None),
        option=Option(help="What completes it; by default as its project says."),
    ),
    TicketField(
        "planning",
        "Plan",
        Control.SELECT,
        help="An agent that plans first changes nothing until a person has approved its plan.",
        labels={planning.value: words for planning, words in display_names.PLANNING.items()},
        empty_label="Profile default",
        is_for_people=True,
        option=Option("--plan", help="Whether its agent makes a plan first."),
    ),
    TicketField(
        "tags",
        "Tags",
        Control.TAGS,
        column="",
        choices=Choices.TAGS,
        nullable=False,
        section=None,
        creation=Creation(Group.OWN_PLACE),
        option=Option("--tag", "TAG", "A tag, in small letters and dashes; repeatable."),
    ),
    TicketField(
        "acceptance",
        "Acceptance",
        Control.ITEMS,
        noun="acceptance list",
        nullable=False,
        is_for_people=True,
        section=None,
        creation=Creation(Group.OWN_PLACE),
        option=Option("--accept", "TEXT", "One acceptance criterion; repeatable."),
    ),
    _read_only("created", "Created", Section.TIMING, control=Control.MOMENT),
    _read_only("updated", "Updated", Section.TIMING, control=Control.MOMENT),
    TicketField(
        "not_before",
        "Not before",
        Control.MOMENT,
        noun="earliest start",
        section=Section.TIMING,
        creation=Creation(Group.TIMES),
        option=Option(help="When it may start at the earliest."),
    ),
    TicketField(
        "expected_check_in",
        "Check-in",
        Control.MOMENT,
        noun="expected check-in",
        section=Section.TIMING,
        creation=Creation(Group.TIMES, "Expected check-in", "After this time the ticket is shown as stuck."),
    ),
    _read_only("wake_at", "Wakes", Section.TIMING, control=Control.MOMENT),
    _read_only("closed", "Closed", Section.TIMING, control=Control.MOMENT),
    TicketField(
        "archived",
        "Archive",
        Control.FLAG,
        help="An archived ticket is not on the board. Nothing is deleted.",
        noun="archive mark",
        nullable=False,
        section=None,
        creation=None,
    ),
)
BY_NAME = {each.name: each for each in FIELDS}
EDITABLE = tuple(each for each in FIELDS if each.editable)
CREATABLE = tuple(each for each in FIELDS if each.creation)


def describe_field(name: str) -> str:
    """Format a ticket's field for a sentence: `owner`, `title`. One that is not declared any more has its name."""
    return BY_NAME[name].sentence_name if name in BY_NAME else name


class LandingJson(Response):
    """A landing under way (`pending`), or one that needs a person (`failed`), with the reason."""

    state: str
    policy: str
    by: str
    since: Moment
    branch: str
    commit: str
    base: str
    reason: str | None


class TicketJson(Response):
    id: int
    identifier: str
    title: str
    description: str
    status: str
    priority: PriorityName
    assigned_to: str | None
    requester: str
    campaign_owner: str | None
    project: str | None
    tags: list[str]
    phase: str | None
    gate: str
    planning: str | None
    resume: bool
    not_before: Moment | None
    wake: dict[str, Any] | None
    block: dict[str, Any] | None
    landing: LandingJson | None
    expected_check_in: Moment | None
    failure_reason: str | None
    attempts: int
    acceptance: list[dict[str, Any]]
    archived: bool
    version: int
    last_seq: int = Field(validation_alias="event_seq")
    created: Moment
    updated: Moment
    moved: Moment
    closed: Moment | None
