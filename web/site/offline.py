"""The board as an installed web app: its manifest, its service worker, and the page shown offline."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, jsonify, render_template

import auth

from .assets import BUNDLES, Assets

blueprint = Blueprint("offline", __name__)

PAGE = "/offline"
LAZY_SCRIPTS = ("console.js", "former_", "copy_drafts.js")
LAZY_PREFIXES = (
    "app/",
    "css/",
    "worker.js",
    "vendor/xterm",
    *LAZY_SCRIPTS,
    *(f"{BUNDLES}{name}" for name in LAZY_SCRIPTS),
)
"""Files that the service worker caches at their first use. It caches all others when it is installed."""


@blueprint.get("/worker.js")
@auth.serve_everywhere
def worker() -> Response:
    """Serve the service worker with its configuration, which contains the version of the static files.

    It is served from the root, since the scope of a service worker is the path of its own URL. At a plain address, where
    earlier versions have installed one, it is a worker that removes itself.
    """
    assets, instance = _get_assets(), auth.get_instance().settings.instance
    if not auth.is_browser_address():
        text = f"const INSTANCE = {json.dumps(instance)};\n{assets.text('former_worker.js')}"
        return Response(text, mimetype="text/javascript")
    config = {
        "instance": instance,
        "version": assets.version,
        "files": assets.address(""),
        "shell": [PAGE, *(assets.address(name) for name in assets.list_used() if not name.startswith(LAZY_PREFIXES))],
        "offline": PAGE,
        "icon": assets.address("app/icon-192.png"),
    }
    return Response(f"const SITE = {json.dumps(config)};\n{assets.text('worker.js')}", mimetype="text/javascript")


@blueprint.get("/manifest.webmanifest")
@auth.public
def manifest() -> Response:
    """Serve the web app manifest, whose name contains the plain address to distinguish several boards."""
    settings = auth.get_instance().settings
    answer = jsonify(
        id=f"/?instance={settings.instance}",
        name=f"Mission Control ({urlsplit(settings.public_url or settings.api_url).netloc})",
        short_name="Mission Control",
        description="The board for delegated work.",
        start_url="/",
        scope="/",
        display="standalone",
        background_color="#fafbfc",
        theme_color="#fafbfc",
        icons=[*_build_icons("any", "icon-192", "icon-512"), *_build_icons("maskable", "maskable-512")],
        shortcuts=[
            {"name": "Board", "url": "/board"},
            {"name": "New ticket", "url": "/ticket/new"},
            {"name": "What needs you", "url": "/#needs-you"},
        ],
    )
    answer.mimetype = "application/manifest+json"
    return answer


def _build_icons(purpose: str, *names: str) -> list[dict[str, str]]:
    assets = _get_assets()
    sizes = {name: name.split("-")[1] for name in names}
    icons = [
        {"src": assets.address(f"app/{name}.png"), "type": "image/png", "sizes": f"{size}x{size}", "purpose": purpose}
        for name, size in sizes.items()
    ]
    scalable = {"src": assets.address("icon.svg"), "type": "image/svg+xml", "sizes": "any", "purpose": "any"}
    return [*icons, scalable] if purpose == "any" else icons


@blueprint.get(PAGE)
@auth.public
def show() -> str:
    return render_template("site/offline.html")


def _get_assets() -> Assets:
    assets: Any = current_app.extensions["assets"]
    assert isinstance(assets, Assets)
    return assets
