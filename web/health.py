"""Whether the server is alive (open to all), and whether the whole of it works (for those who may read)."""

from __future__ import annotations

from flask import Blueprint

import auth

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@auth.public
def alive() -> tuple[str, int, dict[str, str]]:
    """Answers without touching the store, so that it says only that this process serves."""
    return "ok\n", 200, {"Content-Type": "text/plain; charset=utf-8"}
