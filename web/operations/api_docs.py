"""The description of the API: as an OpenAPI document for programs, and as a page made from it for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, jsonify

import auth
from auth import Right
from web.api.openapi import document
from web.site import layout

blueprint = Blueprint("api_docs", __name__)


@blueprint.get("/api/v1/openapi.json")
@auth.allow(*Right)
def show_document() -> Response:
    return jsonify(document())


@blueprint.get("/api/docs")
def show_page() -> str:
    described = document()
    groups = [(tag, list(members)) for tag, members in groupby(_operations(described), key=lambda item: item["tag"])]
    schemas = described["components"]["schemas"]
    crumbs: list[tuple[str, str | None]] = [("API", None)]
    return layout.page(
        "api.html", "api", crumbs, about=described["info"]["description"], groups=groups, schemas=schemas
    )


def _operations(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each operation as the page shows it, in the order of its resource."""
    found = [
        {
            "id": operation["operationId"],
            "tag": operation["tags"][0],
            "method": method.upper(),
            "path": path,
            "summary": operation["summary"],
            "rights": operation["description"],
            "parameters": [part for part in operation["parameters"] if part["in"] == "query"],
            "body": _body_name(operation),
            "statuses": sorted(operation["responses"]),
        }
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    yield from sorted(found, key=lambda item: item["tag"])


def _body_name(operation: dict[str, Any]) -> str | None:
    """The name of the body's schema, where it has one of its own."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return schema.get("$ref", "").rpartition("/")[2] or (", ".join(content) if content else None)
