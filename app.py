"""The application factory: settings and store become a Flask application with every blueprint of `web/`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from flask import Flask
from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy.orm import configure_mappers
from werkzeug.routing import IntegerConverter

import auth
from database import limit_writers
from settings import Settings, load
from web import blueprints
from web.api import compression, request_body
from web.board import cards
from web.site import assets, errors, headers, layout, metrics, visits

MAX_NUMBER = 2**63 - 1
PER_INSTANCE = ("streams", "sockets", "health_observer")
"""Extensions that a process creates at first use, with the settings of its instance."""


class TemplateCache(FileSystemBytecodeCache):
    """Cache of compiled templates beside their sources, which reduces their load time from 500 ms to 20 ms."""

    def __init__(self, folder: Path) -> None:
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
        super().__init__(str(folder))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write a compiled template, unless the checkout is read-only or the disk full."""
        with suppress(OSError):
            super().dump_bytecode(bucket)


class Number(IntegerConverter):
    """URL converter for a row's number, within the range of the store."""

    def __init__(self, map: object) -> None:
        super().__init__(map, min=1, max=MAX_NUMBER)  # type: ignore[arg-type]


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application and bind it to one instance, by default with the settings of `settings.load()`."""
    app = build_app()
    bind_app(app, settings or load())
    return app


def build_app() -> Flask:
    """Register routes, filters and error pages. Opens no file or connection, so that a server may call it before it forks."""
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.converters["number"] = Number
    app.url_map.merge_slashes = False  # the redirect would name the host
    app.jinja_env.bytecode_cache = TemplateCache(Path(app.root_path) / "templates/__pycache__")
    # The first part to be installed sees an answer last: the metrics measure it with its compression.
    for part in (metrics, compression, auth, request_body, errors, headers, assets, layout, cards, visits):
        part.install(app)
    for blueprint in blueprints():
        app.register_blueprint(blueprint)
    metrics.declare_endpoints(app)
    configure_mappers()
    return app


def preload() -> Flask:
    """Build the application with its templates compiled, for a server that forks. Each worker process binds it."""
    app = build_app()
    compile_templates(app)
    return app


def compile_templates(app: Flask) -> None:
    """Compile every template before a fork, so that all worker processes share them."""
    for name in app.jinja_env.list_templates(extensions=["html"]):
        app.jinja_env.get_template(name)


def bind_app(app: Flask, settings: Settings) -> None:
    """Bind the application to the settings, store, key and cookie names of an instance, once per process after the fork.

    The store must have been migrated. Binding again switches to another instance and drops the state of the previous one.
    """
    settings.ensure_home()
    instance = auth.open_instance(settings)
    limit_writers(instance.engine, settings.writer_limit)
    app.config.update(_build_configuration(instance))
    for name in PER_INSTANCE:
        app.extensions.pop(name, None)
    app.extensions["mission_control"] = instance


def _build_configuration(instance: auth.Instance) -> dict[str, object]:
    """Build Flask's configuration. Its session holds only the notes for the next page, as logins are in the store."""
    settings = instance.settings
    return {
        "SECRET_KEY": instance.key,
        "SESSION_COOKIE_NAME": f"mc_notes_{settings.instance}",
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.behind_tls,
        "MAX_CONTENT_LENGTH": settings.body_limit_bytes,
        "MAX_FORM_MEMORY_SIZE": settings.body_limit_bytes,
    }
