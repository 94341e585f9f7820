"""The tags that tickets have, beside those that every board offers, and the rules that assign some to a new ticket."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database import fetch_rows, once_per_session
from models import Tag, TicketTag

from . import rights
from .actors import Actor
from .rights import Act
from .word_rules import WordRule, find_values

MAX_TAGS = 100
SMALLEST = select(func.min(TicketTag.tag).label("tag")).cte("used_tags", recursive=True)
FOLLOWING = select(func.min(TicketTag.tag)).where(TicketTag.tag > SMALLEST.c.tag).scalar_subquery()
USED = SMALLEST.union_all(select(FOLLOWING).where(SMALLEST.c.tag.is_not(None)))
USED_TAGS = select(USED.c.tag).where(USED.c.tag.is_not(None)).limit(MAX_TAGS)
"""Each tag once, by one step through the index for each."""


@once_per_session
def list_tags(session: Session) -> list[str]:
    """List the tags to choose from in alphabetical order, at most a hundred of those in use."""
    return sorted({tag.value for tag in Tag}.union(tag for (tag,) in fetch_rows(session, USED_TAGS)))


TAG_RULES = (
    WordRule(
        Tag.BUG, ("bug*", "broken", "crash*", "error*", "exception*", "fail*", "fix", "fixes", "regression*", "wrong")
    ),
    WordRule(Tag.REFACTOR, ("refactor*", "clean up", "cleanup", "dead code", "deduplicate", "rename*", "simplif*")),
    WordRule(Tag.RESEARCH, ("research", "compare", "evaluate", "explore", "find out", "investigat*", "spike")),
    WordRule(Tag.REVIEW, ("review*", "audit*")),
    WordRule(
        Tag.INFRA, ("infra*", "backup*", "ci", "deploy*", "docker", "kubernetes", "pipeline*", "server*", "systemd")
    ),
    WordRule(Tag.FEATURE, ("feature*", "add", "allow", "implement*", "introduce", "support")),
)
"""The tags that a new ticket gets by its words, unless its creator chooses. See `choose_tags`."""


def choose_tags(title: str, description: str, template: str = "") -> list[str]:
    """Choose the tags of a new ticket: all whose words are in the title, or else the first whose words are in the description.

    The lines that the description has from the `template` of the project do not count.
    """
    template_lines = set(template.splitlines())
    text = "\n".join(line for line in description.splitlines() if line not in template_lines)
    return find_values(TAG_RULES, title) or find_values(TAG_RULES, text)[:1]


def find_new_tags(session: Session, tags: Collection[str]) -> set[str]:
    """Find which of these tags no board offers and no ticket has."""
    unusual = set(tags) - set(Tag)
    used_tags = select(TicketTag.tag).where(TicketTag.tag.in_(unusual)).distinct()
    return unusual - set(session.scalars(used_tags)) if unusual else set()


def require_usable(session: Session, tags: Collection[str], actor: Actor) -> None:
    """Raise `Forbidden` when an agent or a program that decides on its own brings in a new tag, which would fill the menu."""
    if rights.may(actor, Act.ADD_TAG):
        return
    if new_tags := find_new_tags(session, tags):
        rights.require(actor, Act.ADD_TAG, tags=sorted(new_tags), offered=list_tags(session))
