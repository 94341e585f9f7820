"""Conversion of event payloads to their shapes (`protocol.py`), tolerant of what a wrapper has sent.

This is the only place that ignores_configuration a payload: new events pass through `normalize`, and stored events are read in the
same way. A value that does not fit is displayed as plain text where a text is expected, and left out elsewhere. The
event log keeps the payload unchanged.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from protocol import PAYLOADS, ChecklistItem, Payload, Question, QuestionChoice, QuestionPayload

Shape = TypeVar("Shape", bound=Payload | Question | QuestionChoice | ChecklistItem)
NO_QUESTION = "Your answer"


def read(shape: type[Shape], payload: Mapping[str, Any]) -> Shape:
    """Read a payload into its shape, with the default for a field that is missing or does not fit."""
    hints = _hints(cast(Any, shape))  # a type variable does not count as hashable
    return shape(
        **{
            field.name: _fit(hints[field.name], payload[field.name], field.default)
            for field in fields(shape)
            if payload.get(field.name) is not None
        }
    )


def normalize(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload with the fields of its event type in their shape, and all others unchanged."""
    shape = PAYLOADS.get(event_type)
    if shape is None:
        return payload
    return payload | {name: value for name, value in asdict(read(shape, payload)).items() if name in payload}


def read_questions(payload: Mapping[str, Any]) -> tuple[Question, ...]:
    """Return the questions of a payload, at least one: without any, the payload itself becomes the text of a question."""
    rest = {name: value for name, value in payload.items() if value and name not in ("request", "block", "parent")}
    fallback = Question(text=plain(rest) if rest else NO_QUESTION)
    return read(QuestionPayload, payload).questions or (fallback,)


def plain(value: Any) -> str:
    """Convert a JSON value to text for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@functools.cache
def _hints(shape: type[Any]) -> dict[str, Any]:
    return get_type_hints(shape)


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _fit(hint: Any, value: Any, default: Any) -> Any:
    if get_origin(hint) is tuple:
        return _items(get_args(hint)[0], value)
    try:
        return _adapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return plain(value) if hint is str else default


def _items(shape: type[Any], value: Any) -> tuple[Any, ...]:
    """Convert the items of a list, or a single value in place of a list."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(_item(shape, item) for item in items if item is not None)


def _item(shape: type[Any], value: Any) -> Any:
    """Convert one item, falling back to the raw value as its text when it has none."""
    item = read(shape, value) if isinstance(value, dict) else shape()
    text = fields(shape)[0].name
    return item if getattr(item, text) else replace(item, **{text: plain(value)})
