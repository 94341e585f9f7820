"""The tags that tickets have, beside those that every board offers."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database import fetch_rows, once_per_session
from models import Tag, TicketTag

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
