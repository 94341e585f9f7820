"""A new ticket in one line: `Fix CSV export #bug @codex !high +web tomorrow` is a title with fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy.orm import Session

from tickets.shared import tags
from tickets.shared.ticket_fields import BY_NAME
from tickets.team import agents, projects

FIELDS_BY_PREFIX = {"#": "tags", "@": "assigned_to", "!": "priority", "+": "project"}
TOKEN = re.compile(r"([#@!+])([^\W\d_][\w.-]*)")
NEW_TAG = re.compile(r"#[A-Za-z][A-Za-z0-9-]{0,23}")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DUE_WORDS = frozenset({"due", "by"})
END_OF_DAY = time(23, 59)
START, DUE = "not_before", "expected_check_in"

Names = Mapping[str, Mapping[str, str]]
"""The names that a line may use, for each field of a new ticket: what is typed, in lower case, and its value."""


@dataclass(frozen=True, slots=True)
class Token:
    """A part of the line that sets a field of the ticket: `#bug`, or `due friday`."""

    text: str
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """A line as title and fields. `unknown` are words that look like a token and stay in the title."""

    title: str
    tokens: tuple[Token, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The values of `NewTicket` that the tokens set."""
        tags = [token.value for token in self.tokens if token.field == "tags"]
        values: dict[str, Any] = {token.field: token.value for token in self.tokens if token.field != "tags"}
        return values | ({"tags": tags} if tags else {})


def load_names(session: Session, person: str) -> Names:
    """Load the names that the line of a person may use. `me` is the person, as a member of the team."""
    owners = {member.name.lower(): member.name for member in agents.list_members(session)}
    return {
        "tags": {tag.lower(): tag for tag in tags.list_tags(session)},
        "assigned_to": owners | ({"me": person} if person in owners.values() else {}),
        "priority": {level.lower(): level for level in BY_NAME["priority"].labels},
        "project": {project.slug.lower(): project.slug for project in projects.list_projects(session)},
    }


def parse_line(line: str, names: Names, moment: datetime, plain: Collection[str] = ()) -> ParsedLine:
    """Parse a line, whose days count from `moment` in its time zone. The words of `plain` stay text.

    A day counts at the end of the title only: `tomorrow` is the earliest start, `due friday` the expected check-in. Of two
    values for one field the first counts, and the other one stays text, as does everything that is not known, but for new
    tags at the end of the title.
    """
    words: list[str] = []
    tokens: list[Token] = []
    unknown: list[str] = []
    for word in line.split():
        token = None if word in plain else _parse_token(word, names)
        if token is not None and _is_free(token, tokens):
            tokens.append(token)
            continue
        words.append(word)
        if token is None and word not in plain and TOKEN.fullmatch(word):
            unknown.append(word)
    words, day = _split_day(words, moment, plain)
    words, new_tags = _split_new_tags(words, plain, tokens)
    unknown = [word for word in unknown if word not in {token.text for token in new_tags}]
    return ParsedLine(" ".join(words), (*tokens, *new_tags, *day), tuple(unknown))


def _parse_token(word: str, names: Names) -> Token | None:
    match = TOKEN.fullmatch(word)
    if match is None:
        return None
    field = FIELDS_BY_PREFIX[match[1]]
    value = names.get(field, {}).get(match[2].lower())
    return None if value is None else Token(word, field, value)


def _is_free(token: Token, tokens: list[Token]) -> bool:
    others = [other for other in tokens if other.field == token.field]
    return token.value not in {other.value for other in others} if token.field == "tags" else not others


def _split_new_tags(words: list[str], plain: Collection[str], tokens: list[Token]) -> tuple[list[str], list[Token]]:
    """Split tags that no ticket has yet from the end of a title, as `#include` within one is a word of it."""
    tags: list[Token] = []
    while len(words) > 1 and words[-1] not in plain and NEW_TAG.fullmatch(words[-1]):
        tag = Token(words[-1], "tags", words[-1][1:].lower())
        if not _is_free(tag, [*tokens, *tags]):
            break
        tags.insert(0, tag)
        words = words[:-1]
    return words, tags


def _split_day(words: list[str], moment: datetime, plain: Collection[str]) -> tuple[list[str], list[Token]]:
    """Split the day from the end of a title."""
    day = parse_day(words[-1], moment.date()) if words else None
    is_due = len(words) > 1 and words[-2].lower() in DUE_WORDS
    text = " ".join(words[-2:] if is_due else words[-1:])
    if day is None or text in plain:
        return words, []
    at = datetime.combine(day, END_OF_DAY if is_due else time(), moment.tzinfo)
    return words[: -2 if is_due else -1], [Token(text, DUE if is_due else START, at.isoformat())]


def parse_day(word: str, today: date) -> date | None:
    """Parse `today`, `tomorrow`, a weekday, which is the next one, or a date such as 2026-12-24 that has not passed."""
    word = word.lower()
    if word in WEEKDAYS:
        return today + timedelta(days=(WEEKDAYS.index(word) - today.weekday() - 1) % 7 + 1)
    if word in ("today", "tomorrow"):
        return today + timedelta(days=word == "tomorrow")
    try:
        day = date.fromisoformat(word) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", word) else None
    except ValueError:
        return None
    return day if day is not None and day >= today else None
