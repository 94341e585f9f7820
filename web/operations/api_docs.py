"""Documentation of the API: the OpenAPI document, and a page generated from it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, jsonify

import auth
from auth import Right
from web.api.openapi import build_document
from web.site import layout

blueprint = Blueprint("api_docs", __name__)


@blueprint.get("/api/v1/openapi.json")
@auth.allow(*Right)
def show_document() -> Response:
    return jsonify(build_document())


@blueprint.get("/api/docs")
def show_page() -> str:
    openapi = build_document()
    groups = [(tag, list(members)) for tag, members in groupby(_list_operations(openapi), key=lambda item: item["tag"])]
    schemas = openapi["components"]["schemas"]
    crumbs: list[tuple[str, str | None]] = [("API", None)]
    return layout.render_page(
        "operations/api.html", "api", crumbs, about=openapi["info"]["description"], groups=groups, schemas=schemas
    )


def _list_operations(openapi: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each operation for the page, ordered by tag."""
    operations = [
        {
            "id": operation["operationId"],
            "tag": operation["tags"][0],
            "method": method.upper(),
            "path": path,
            "summary": operation["summary"],
            "rights": operation["description"],
            "parameters": [part for part in operation["parameters"] if part["in"] == "query"],
            "body": _find_body_name(operation),
            "statuses": sorted(operation["responses"]),
        }
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    yield from sorted(operations, key=lambda item: item["tag"])


def _find_body_name(operation: dict[str, Any]) -> str | None:
    """Return the name of the body's schema, else its media types, or None without a body."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return schema.get("$ref", "").rpartition("/")[2] or (", ".join(content) if content else None)
