"""Request bodies: whole ones only, JSON strictly validated, without values that a database cannot store, redacted where a
program sends them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, request
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json
from werkzeug.exceptions import UnsupportedMediaType

import auth
from auth import Right
from redaction import SHAPES
from tickets.shared.errors import Invalid

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"
PROGRAM_RIGHTS = auth.PROGRAMS | {Right.RUN}
"""Callers whose texts are redacted. What a person writes is stored as it is."""
DISGUISE_PATTERN = re.compile(rb"\\(?:u00[0-9]|[bf/])|\x7f|\xc2[\x80-\x9f]")
"""What may stand inside a token or for one of its characters in JSON, so that the token is found in the decoded text alone."""
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
# Matches valid JSON that may not be storable, so that only bodies with a match are searched value by value.
UNSTORABLE_PATTERN = re.compile(rb"\\u0000|[0-9]{19}|NaN|Infinity|[eE]\+?[0-9]{3}")


WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]


def install(app: Flask) -> None:
    app.before_request(refuse_nul)
    app.wsgi_app = require_whole_body(app.wsgi_app)  # type: ignore[method-assign, assignment]


def require_whole_body(application: WSGIApplication) -> WSGIApplication:
    """Wrap a WSGI application so that a body shorter than its Content-Length is an error, and not a shorter form.

    gunicorn says of every body that its end can be trusted (`wsgi.input_terminated`), even when the client has left or
    took too long. Without that, Werkzeug compares the length itself.
    """

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH"):
            environ.pop("wsgi.input_terminated", None)
        return application(environ, start_response)

    return call


def refuse_nul() -> None:
    """Refuse a URL with a NUL byte, which databases cannot store in text."""
    if "\x00" in request.path or b"%00" in request.query_string:
        raise Invalid("The URL contains a NUL byte.")


@functools.cache
def _get_adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_body(kind: Any, *, batch: bool = False) -> Any:
    """Read and validate the request's body as `kind`.

    The body of a batch is one object, an array or NDJSON, and becomes a list.

    Raises pydantic's ValidationError or `Invalid` (422), UnsupportedMediaType (415), RequestEntityTooLarge (413).
    """
    raw = request.get_data().strip()
    if request.mimetype == NDJSON and batch:
        raw = b"[" + b",".join(line for line in raw.splitlines() if line.strip()) + b"]"
    elif request.mimetype != JSON and raw:
        raise UnsupportedMediaType
    elif batch and raw.startswith(b"{"):
        raw = b"[" + raw + b"]"
    raw = raw or b"{}"
    if UNSTORABLE_PATTERN.search(raw):
        _refuse_unstorable(raw)
    if is_program():
        raw = _redact_json(raw)
    return _get_adapter(kind).validate_json(raw, strict=True)


def is_program() -> bool:
    """Return whether an agent, a wrapper or another program has sent the request."""
    return auth.get_caller().right in PROGRAM_RIGHTS


def read_text() -> str:
    """Read the request's body as text to be stored, redacted where a program sends it."""
    raw = request.get_data()
    if not is_program():
        return raw.decode("utf-8", "replace")
    documents = raw.splitlines() if request.mimetype == NDJSON else [raw]
    return SHAPES.clean_text(b"\n".join(map(_redact_json, documents)).decode("utf-8", "replace"))


def _redact_json(raw: bytes) -> bytes:
    """Redact the texts of a JSON body. One without a secret stays as it came, since that is found much faster."""
    if not DISGUISE_PATTERN.search(raw) and not SHAPES.has_secret(raw.decode("utf-8", "replace")):
        return raw
    try:
        return to_json(SHAPES.clean_value(from_json(raw)))
    except ValueError:
        return raw  # the validation says what is wrong


def _refuse_unstorable(raw: bytes) -> None:
    try:
        content = from_json(raw)
    except ValueError as error:
        raise Invalid(f"The body is not valid JSON: {error}.") from None
    problem = _find_unstorable(content)
    if problem:
        raise Invalid(f"The input contains {problem}, which cannot be stored.")


def _find_unstorable(value: Any) -> str | None:
    match value:
        case str():
            return "a NUL byte" if "\x00" in value else None
        case bool():
            return None
        case int():
            return None if MIN_INTEGER <= value <= MAX_INTEGER else "a number beyond 64 bits"
        case float():
            return None if math.isfinite(value) else "a number that is not finite"
        case dict():
            return next(filter(None, (_find_unstorable(part) for pair in value.items() for part in pair)), None)
        case list():
            return next(filter(None, map(_find_unstorable, value)), None)
    return None
