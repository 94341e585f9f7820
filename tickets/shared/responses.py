"""Base of the responses: Pydantic models that read the columns of a row, and the types that several share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from models import Priority, format_timestamp

Moment = Annotated[datetime, PlainSerializer(format_timestamp, return_type=str)]
PriorityName = Annotated[str, BeforeValidator(lambda priority: Priority(priority).label)]


Number = Annotated[int | float, WithJsonSchema({"type": "number"})]


class Response(BaseModel):
    """A response that reads its fields from a row."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def read(cls, row: object, **values: object) -> Self:
        """The response of a row; `values` are fields that it has no column for."""
        return cls.model_validate(_RowWithValues(row, values) if values else row)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of this response."""
        return self.model_dump(mode="json")


class _RowWithValues:
    """A row with some values beside it, which come first."""

    def __init__(self, row: object, values: dict[str, object]) -> None:
        self._row = row
        self._values = values

    def __getattr__(self, name: str) -> object:
        return self._values[name] if name in self._values else getattr(self._row, name)
