"""Lists of the JSON API: a part of the items, and the cursor of the next part."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import Field
from typing_extensions import TypedDict

from tickets.shared.inputs import Body, Line

Item = TypeVar("Item")


class Page(TypedDict, Generic[Item]):
    """Some items, and the cursor of those that follow."""

    items: list[Item]
    next: str | None


class Paging(Body):
    """Which part of a list: at most `limit` items behind `cursor`."""

    limit: int = Field(50, ge=1, le=200)
    cursor: Line | None = None
