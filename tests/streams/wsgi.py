"""The streams behind the real guard and error pages, with one ordinary page beside them, for gunicorn to serve."""

from __future__ import annotations

import os

from flask import Flask, Response, jsonify

import auth
from web.site import connection, errors, headers
from web.stream import streams


def preload() -> Flask:
    # Waiting twenty seconds for a stalled client is no test's business.
    connection.STALL_SECONDS = float(os.environ.get("MC_TEST_STALL_SECONDS", connection.STALL_SECONDS))
    connection.RECHECK_SECONDS = float(os.environ.get("MC_TEST_RECHECK_SECONDS", connection.RECHECK_SECONDS))
    app = Flask(__name__)
    for part in (auth, errors, headers):
        part.install(app)
    app.register_blueprint(streams.blueprint)
    app.add_url_rule("/page", view_func=_page)
    app.add_url_rule("/counters", view_func=_counters)
    return app


@auth.public
def _page() -> str:
    return str(os.getpid())


@auth.public
def _counters() -> Response:
    return jsonify(streams.counters())
