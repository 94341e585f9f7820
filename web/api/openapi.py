"""The OpenAPI 3.1 document, generated from the declared routes."""

from __future__ import annotations

import functools
import re
from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from .request_body import EVENTS, JSON, NDJSON
from .resource import PREFIX, ROUTES, Route

REFERENCE_TEMPLATE = "#/components/schemas/{model}"
DESCRIPTION = (
    "A ticket is named by its identifier (`MC-12`) or the number in it (`12`). Lists return"
    ' `{"items": [...], "next": cursor}`. A write may have an `Idempotency-Key`: a request that is repeated with the same'
    " key gets the first response again and changes nothing."
)
STATUS_DESCRIPTIONS = {
    400: "Malformed request, or a host name that this server does not serve.",
    401: "The token is missing or invalid.",
    403: "The caller has no right to do this.",
    404: "The resource does not exist.",
    409: "Not possible in the current state: `error` has the reason.",
    410: "That part of the history has been deleted.",
    413: "The body is larger than this server accepts.",
    415: "Unsupported content type.",
    422: "Invalid input: `detail` names each field.",
    503: "The database cannot be read or written at the moment. Try again.",
}
FULL = (
    "The database cannot be read at the moment, or, as `text/event-stream`, the limit of open streams is reached:"
    " `retry` and `Retry-After` say when to reconnect."
)


class ErrorJson(TypedDict):
    """An error: `error` is a code for programs, `message` a text for people."""

    error: str
    message: str
    detail: dict[str, Any]


Mode = Literal["validation", "serialization"]


@functools.cache
def build_document() -> dict[str, Any]:
    """Build the whole document, which is the same for every instance and caller."""
    schemas, definitions = _build_schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(format_path(route), {})[route.method.lower()] = _build_operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mission Control", "version": "1", "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _build_schemas() -> tuple[dict[tuple[str, Mode], Any], dict[str, Any]]:
    """Build the schema of each body and response by route and mode, and the definitions that they share."""
    inputs: list[tuple[str, Mode, TypeAdapter[Any]]] = [("error", "serialization", TypeAdapter(ErrorJson))]
    for route in ROUTES:
        if route.body is not None:
            inputs.append((f"{route.name}.body", "validation", TypeAdapter(route.body)))
        if route.answer not in (None, type(None)):
            inputs.append((f"{route.name}.answer", "serialization", TypeAdapter(route.answer)))
    schemas_by_input, shared_schema = TypeAdapter.json_schemas(inputs, ref_template=REFERENCE_TEMPLATE)
    return {(str(name), mode): schema for (name, mode), schema in schemas_by_input.items()}, shared_schema["$defs"]


def format_path(route: Route) -> str:
    """Format the route's path in OpenAPI's syntax."""
    return PREFIX + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.rule)


def _build_operation(route: Route, schemas: dict[tuple[str, Mode], Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "description": "For " + ", ".join(sorted(route.rights)) + ".",
        "parameters": [*_list_path_parameters(route), *_list_query_parameters(route), *_list_header_parameters(route)],
        "responses": _build_responses(route, schemas),
    }
    if _has_body(route):
        operation["requestBody"] = {"required": True, "content": _build_body(route, schemas)}
    return operation


def _has_body(route: Route) -> bool:
    return route.body is not None or route.form is not None


def _list_path_parameters(route: Route) -> list[dict[str, Any]]:
    numbers = set(re.findall(r"<number:(\w+)>", route.rule))
    number = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    ticket = {"type": "string", "pattern": "^(MC-)?[1-9][0-9]{0,17}$"}
    name = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.-]{0,63}$"}
    kinds = dict.fromkeys(numbers, number) | {"ticket": ticket}
    return [{"name": part, "in": "path", "required": True, "schema": kinds.get(part, name)} for part in route.path]


def _list_query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template=REFERENCE_TEMPLATE)
    return [
        {"name": name, "in": "query", "required": False, "schema": _remove_null(part)}
        for name, part in schema["properties"].items()
    ]


def _remove_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove `null` from the schema of a query parameter, which is omitted instead."""
    alternatives = [part for part in schema.get("anyOf", []) if part != {"type": "null"}]
    plain = {name: value for name, value in schema.items() if name not in ("anyOf", "title", "default")}
    return plain | (alternatives[0] if alternatives else {})


def _list_header_parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
    names = ["Idempotency-Key"] * route.repeatable + ["Last-Event-ID"] * (EVENTS in route.media)
    return [{"name": name, "in": "header", "required": False, "schema": text} for name in names]


def _build_body(route: Route, schemas: dict[tuple[str, Mode], Any]) -> dict[str, Any]:
    if route.form is not None:
        return {"multipart/form-data": {"schema": route.form}}
    schema = schemas[f"{route.name}.body", "validation"]
    if not route.batch:
        return {JSON: {"schema": schema}}
    return {JSON: {"schema": {"anyOf": [schema["items"], schema]}}, NDJSON: {"schema": {"type": "string"}}}


def _build_responses(route: Route, schemas: dict[tuple[str, Mode], Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if route.answer is None:
        success["content"] = _content(route)
    elif route.status != 204:
        success["content"] = {JSON: {"schema": schemas[f"{route.name}.answer", "serialization"]}}
    refusal = {JSON: {"schema": schemas["error", "serialization"]}}
    refusals = {
        str(status): {"description": STATUS_DESCRIPTIONS[status], "content": refusal}
        for status in _list_error_statuses(route)
    }
    if EVENTS in route.media:
        refusals["503"] = {"description": FULL, "content": refusal | {EVENTS: {"schema": {"type": "string"}}}}
    return {str(route.status): success, **refusals}


def _content(route: Route) -> dict[str, Any]:
    """Build the content of a response that is not JSON: text or a file, by media type."""
    return {
        media: {"schema": {"type": "string"} | ({} if media.startswith("text/") else {"format": "binary"})}
        for media in route.media
    }


def _list_error_statuses(route: Route) -> list[int]:
    """List the error statuses of a route: those that follow from its method, path and body, and its declared ones."""
    usual = {400, 401, 403, 422, 503, *route.errors}
    usual |= {404} if route.path or _has_body(route) else set()
    usual |= {409} if route.method != "GET" else set()
    usual |= {413, 415} if _has_body(route) else set()
    return sorted(usual)
