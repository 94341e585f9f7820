"""The living page of the interface's parts, drawn by the macros that all pages use."""

from __future__ import annotations

from flask import Blueprint

from . import frame

blueprint = Blueprint("patterns", __name__)


@blueprint.get("/patterns")
def show() -> str:
    return frame.page("patterns.html", "patterns", [("Patterns", None)])
