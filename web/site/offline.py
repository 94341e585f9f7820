"""The board as an installed app: its manifest, its service worker, and the page shown where nothing else can be."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, render_template, request

import auth

from .assets import Assets

blueprint = Blueprint("offline", __name__)

PAGE = "/offline"
NOT_AT_ONCE = ("app/", "css/", "console.js", "worker.js", "vendor/xterm")
"""Files that are kept when they are first shown; what else there is, the pages need from the start."""


@blueprint.get("/worker.js")
@auth.public
def worker() -> Response:
    """At the root, since a worker serves what is below its own address. It differs whenever a file of the tree does."""
    held, instance = _assets(), auth.instance().settings.instance
    house = {
        "instance": instance,
        "version": held.version,
        "files": held.address(""),
        "shell": [PAGE, *(held.address(name) for name in held.files if not name.startswith(NOT_AT_ONCE))],
        "offline": PAGE,
        "icon": held.address("app/icon-192.png"),
    }
    return Response(f"const HOUSE = {json.dumps(house)};\n{held.text('worker.js')}", mimetype="text/javascript")


@blueprint.get("/manifest.webmanifest")
@auth.public
def manifest() -> Response:
    """Named by its address, which is how somebody with several boards tells them apart."""
    answer = jsonify(
        id=f"/?instance={auth.instance().settings.instance}",
        name=f"Mission Control ({request.host})",
        short_name="Mission Control",
        description="The board for delegated work.",
        start_url="/",
        scope="/",
        display="standalone",
        background_color="#fafbfc",
        theme_color="#fafbfc",
        icons=[*_icons("any", "icon-192", "icon-512"), *_icons("maskable", "maskable-512")],
        shortcuts=[
            {"name": "Board", "url": "/board"},
            {"name": "New ticket", "url": "/ticket/new"},
            {"name": "What needs you", "url": "/#needs-you"},
        ],
    )
    answer.mimetype = "application/manifest+json"
    return answer


def _icons(purpose: str, *names: str) -> list[dict[str, str]]:
    held = _assets()
    sizes = {name: name.split("-")[1] for name in names}
    drawn = [
        {"src": held.address(f"app/{name}.png"), "type": "image/png", "sizes": f"{size}x{size}", "purpose": purpose}
        for name, size in sizes.items()
    ]
    scalable = {"src": held.address("icon.svg"), "type": "image/svg+xml", "sizes": "any", "purpose": "any"}
    return [*drawn, scalable] if purpose == "any" else drawn


@blueprint.get(PAGE)
@auth.public
def show() -> str:
    return render_template("offline.html")


def _assets() -> Assets:
    held: Any = current_app.extensions["assets"]
    assert isinstance(held, Assets)
    return held
