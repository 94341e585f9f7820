"""The files of `static/` as they were when this process started, under an address that holds the hash of them all.

Modules import each other, and styles their fonts, by relative path: under one hash for the whole tree they stay
together, and may be kept for good. They are held in memory, so that a checkout which is updated under a running server
never gets its new files kept under the old hash. A page from before an upgrade asks under a hash of then: it is given
what there is now, to be kept by nobody.

Only these files are compressed. A page carries the token of its forms beside words that others chose, and the length of
such a mixture, compressed, would give the token away bit by bit (BREACH).
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from functools import cache, cached_property
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

IMMUTABLE = "public, max-age=31536000, immutable"
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
COMPRESSED_SUFFIXES = {".css", ".js", ".svg"}
MODULE_IMPORT = re.compile(r'^import [^;]*?"(\.[^"]+)";', re.MULTILINE)
ENTRY_STYLE = "style.css"
STYLE_IMPORT = re.compile(r'@import url\("([^"]+)"\) layer\((\w+)\);')
URL = re.compile(r'url\("([^"]+)"\)')


class Asset:
    """One file."""

    def __init__(self, content: bytes, suffix: str) -> None:
        self.content = content
        self.suffix = suffix

    @cached_property
    def gzipped(self) -> bytes:
        return gzip.compress(self.content, 9, mtime=0)


class Assets:
    """All files of a folder by their path in it; `version` changes when any of them does."""

    def __init__(self, folder: Path) -> None:
        files = sorted(file for file in folder.rglob("*") if file.suffix in CONTENT_TYPES)
        self.files = {file.relative_to(folder).as_posix(): Asset(file.read_bytes(), file.suffix) for file in files}
        self.files[ENTRY_STYLE] = Asset(self._join_style().encode(), ".css")
        digest = hashlib.sha256()
        for name, asset in self.files.items():
            digest.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
        self.version = digest.hexdigest()[:12]

    def address(self, name: str) -> str:
        return f"/static/{self.version}/{name}"

    def text(self, name: str) -> str:
        return self.files[name].content.decode()

    def modules(self, name: str) -> list[str]:
        """A module and all that it cannot start without, each once."""
        names = [name]
        for importer in names:
            names += [imported for imported in self._imports(importer) if imported not in names]
        return names

    def _imports(self, name: str) -> list[str]:
        return [_resolve_path(name, target) for target in dict.fromkeys(MODULE_IMPORT.findall(self.text(name)))]

    def _join_style(self) -> str:
        """The entry style with its layers in place: one request before the first paint, not one more for each layer."""

        def layer(match: re.Match[str]) -> str:
            content = URL.sub(lambda url: f'url("{_resolve_path(match[1], url[1])}")', self.text(match[1]))
            return f"@layer {match[2]} {{\n{content}}}"

        return STYLE_IMPORT.sub(layer, self.text(ENTRY_STYLE))


def _resolve_path(name: str, target: str) -> str:
    """The file that `name` means by a relative path: `../../vendor/x.js` in `js/board/board_view.js` is `vendor/x.js`."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def install(app: Flask) -> None:
    """Serve the folder `static` of the application; `url_for("static", filename=…)` gives a file's address."""
    assets = Assets(Path(app.root_path) / "static")

    def add_version(endpoint: str, values: dict[str, object]) -> None:
        if endpoint == "static":
            values.setdefault("version", assets.version)

    app.add_url_rule("/static/<version>/<path:filename>", "static", lambda **values: _serve_asset(assets, **values))
    app.url_defaults(add_version)
    app.extensions["assets"] = assets
    app.jinja_env.globals["modules"] = cache(lambda name: [assets.address(module) for module in assets.modules(name)])
    # Hundreds of icons stand on a board: their address is not built anew for each.
    app.jinja_env.globals["icon_sheet"] = assets.address("icons.svg")


def _serve_asset(assets: Assets, version: str, filename: str) -> Response:
    asset = assets.files.get(filename)
    if asset is None:
        raise NotFound
    response = Response(asset.content, content_type=CONTENT_TYPES[asset.suffix])
    response.headers["Cache-Control"] = IMMUTABLE if version == assets.version else "no-cache"
    if asset.suffix in COMPRESSED_SUFFIXES:
        response.headers["Vary"] = "Accept-Encoding"
        if request.accept_encodings["gzip"]:
            response.set_data(asset.gzipped)
            response.headers["Content-Encoding"] = "gzip"
    return response
