"""Application for gunicorn with the streams, the real authorization and error pages, and one ordinary page."""

from __future__ import annotations

import os

from flask import Flask, Response, jsonify

import auth
from web.site import errors, headers, stream_response
from web.stream import stream_routes


def preload() -> Flask:
    # Waiting twenty seconds for a stalled client is no test's business.
    stream_response.STALL_SECONDS = float(os.environ.get("MC_TEST_STALL_SECONDS", stream_response.STALL_SECONDS))
    stream_response.RECHECK_SECONDS = float(os.environ.get("MC_TEST_RECHECK_SECONDS", stream_response.RECHECK_SECONDS))
    app = Flask(__name__)
    for part in (auth, errors, headers):
        part.install(app)
    app.register_blueprint(stream_routes.blueprint)
    app.add_url_rule("/page", view_func=_page)
    app.add_url_rule("/counters", view_func=_counters)
    return app


@auth.serve_everywhere
def _page() -> str:
    return str(os.getpid())


@auth.serve_everywhere
def _counters() -> Response:
    return jsonify(stream_routes.count_connections())
