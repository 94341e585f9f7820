"""Static files, served from memory under a URL that contains one hash of the whole tree.

JavaScript modules import each other, and stylesheets their fonts, by relative path. One hash for the whole tree keeps
these paths valid and lets browsers cache every file as immutable. The files are read once when the process starts, so
that updating the checkout of a running server never publishes new content under the old hash. A page that was rendered
before an upgrade requests files under the old hash: it receives the current files with `no-cache`.

Where `bin/setup` has bundled the scripts as they are now, a page is given the bundle of a module in its place.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

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
MODULE_IMPORT = re.compile(r'(?:^|;)import\b[^;"]*"(\.[^"]+)"', re.MULTILINE)
BUNDLES = "bundles/"
BUNDLED_SOURCES = "bundles/.sources"
"""Checksums of the scripts from which the bundles were made, in the format of sha256sum."""
ENTRY_STYLE = "style.css"
STYLE_IMPORT = re.compile(r'@import url\("([^"]+)"\) layer\((\w+)\);')
URL = re.compile(r'url\("([^"]+)"\)')


class Asset:
    """One static file with its content and suffix."""

    def __init__(self, content: bytes, suffix: str) -> None:
        self.content = content
        self.suffix = suffix

    @cached_property
    def gzipped(self) -> bytes:
        return gzip.compress(self.content, 9, mtime=0)


class Assets:
    """All files of a folder by their relative path.

    `version` is a hash of all of them and changes with any of them.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(file for file in folder.rglob("*") if file.suffix in CONTENT_TYPES)
        self.files = {file.relative_to(folder).as_posix(): Asset(file.read_bytes(), file.suffix) for file in files}
        self.files[ENTRY_STYLE] = Asset(self._join_style().encode(), ".css")
        if not self._has_current_bundles(folder / BUNDLED_SOURCES):
            self.files = {name: asset for name, asset in self.files.items() if not name.startswith(BUNDLES)}
        digest = hashlib.sha256()
        for name, asset in self.files.items():
            digest.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
        self.version = digest.hexdigest()[:12]

    def address(self, name: str) -> str:
        return f"/static/{self.version}/{name}"

    def resolve(self, name: str) -> str:
        """Return the name of the bundle of this module, or the name itself."""
        return f"{BUNDLES}{name}" if f"{BUNDLES}{name}" in self.files else name

    def list_used(self) -> list[str]:
        """List the files that pages load: all, except for the modules that are in bundles."""
        bundled = {module for name in self.files if self.resolve(name) != name for module in self._list_imports(name)}
        return [name for name in self.files if name not in bundled]

    def _has_current_bundles(self, sources: Path) -> bool:
        """Return whether the bundles were made from the scripts as they are."""
        scripts = [name for name in self.files if name.endswith(".js") and not name.startswith(BUNDLES)]
        checksums = {f"{hashlib.sha256(self.files[name].content).hexdigest()}  {name}" for name in scripts}
        return sources.exists() and checksums == set(sources.read_text("utf-8").splitlines())

    def text(self, name: str) -> str:
        return self.files[name].content.decode()

    def modules(self, name: str) -> list[str]:
        """List the file that a page loads for a JavaScript module, and all its direct and indirect static imports."""
        return self._list_imports(self.resolve(name))

    def _list_imports(self, name: str) -> list[str]:
        """List a file and all its imports, each once."""
        names = [name]
        for importer in names:
            names += [imported for imported in self._imports(importer) if imported not in names]
        return names

    def _imports(self, name: str) -> list[str]:
        return [_resolve_path(name, target) for target in dict.fromkeys(MODULE_IMPORT.findall(self.text(name)))]

    def _join_style(self) -> str:
        """Inline the imported layers into the entry stylesheet, so that the first paint waits for one request only."""

        def layer(match: re.Match[str]) -> str:
            content = URL.sub(lambda url: f'url("{_resolve_path(match[1], url[1])}")', self.text(match[1]))
            return f"@layer {match[2]} {{\n{content}}}"

        return STYLE_IMPORT.sub(layer, self.text(ENTRY_STYLE))


def _resolve_path(name: str, target: str) -> str:
    """Resolve a relative path found in file `name`: `../../vendor/x.js` in `js/board/board_view.js` is `vendor/x.js`."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def install(app: Flask) -> None:
    """Serve the application's folder `static` and make `url_for("static", filename=…)` return versioned URLs."""
    assets = Assets(Path(app.root_path) / "static")

    def complete_address(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values["filename"] = assets.resolve(values["filename"])
            values.setdefault("version", assets.version)

    app.add_url_rule("/static/<version>/<path:filename>", "static", lambda **values: _serve_asset(assets, **values))
    app.url_defaults(complete_address)
    app.extensions["assets"] = assets
    app.jinja_env.globals["modules"] = cache(lambda name: [assets.address(module) for module in assets.modules(name)])
    # A board shows hundreds of icons: build their common URL only once.
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
