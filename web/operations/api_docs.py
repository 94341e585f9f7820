"""The description of the API: as an OpenAPI document for programs, and as a page made from it for people."""

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
    """Each operation as the page shows it, in the order of its resource."""
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
    """The name of the body's schema, where it has one of its own."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return schema.get("$ref", "").rpartition("/")[2] or (", ".join(content) if content else None)
