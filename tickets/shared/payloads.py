"""Reading the payload of an event into its shape (`protocol.py`), whatever its wrapper has sent.

The one place that doubts a payload: events come in through `normalize`, and what a store holds from before is read in
the same way. A value that does not fit is shown as plain text where a text is expected, and left out elsewhere; the event
log keeps it as it came.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from protocol import PAYLOADS, Choice, Payload, Question, QuestionPayload

Shape = TypeVar("Shape", bound=Payload | Question | Choice)
NO_QUESTION = "Your answer"


def read(shape: type[Shape], payload: Mapping[str, Any]) -> Shape:
    """Read a payload into its shape; a field that is missing or does not fit has its default."""
    hints = _hints(cast(Any, shape))  # a type variable does not count as hashable
    return shape(
        **{
            field.name: _fit(hints[field.name], payload[field.name], field.default)
            for field in fields(shape)
            if payload.get(field.name) is not None
        }
    )


def normalize(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with the fields of its event type in their shape, and everything else as it came."""
    shape = PAYLOADS.get(event_type)
    if shape is None:
        return payload
    return payload | {name: value for name, value in asdict(read(shape, payload)).items() if name in payload}


def read_questions(payload: Mapping[str, Any]) -> tuple[Question, ...]:
    """The questions of a payload, at least one; a payload without any is shown as the text of its question."""
    rest = {name: value for name, value in payload.items() if value and name not in ("request", "block", "parent")}
    fallback = Question(text=plain(rest) if rest else NO_QUESTION)
    return read(QuestionPayload, payload).questions or (fallback,)


def plain(value: Any) -> str:
    """A JSON value as text for people."""
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
    """The items of a list, or the one item that stands in its place."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(_item(shape, item) for item in items if item is not None)


def _item(shape: type[Any], value: Any) -> Any:
    """An item in its shape; one that has no text of its own is shown as it came."""
    item = read(shape, value) if isinstance(value, dict) else shape()
    text = fields(shape)[0].name
    return item if getattr(item, text) else replace(item, **{text: plain(value)})
