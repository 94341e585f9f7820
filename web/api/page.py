"""Pages of the JSON API's lists, with cursors."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import Field
from typing_extensions import TypedDict

from tickets.shared.inputs import Body, Line

Item = TypeVar("Item")


class Page(TypedDict, Generic[Item]):
    """A page of items, and the cursor of the next page."""

    items: list[Item]
    next: str | None


class Paging(Body):
    """Part of a list: at most `limit` items after `cursor`."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Line | None = None
