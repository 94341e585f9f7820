"""The real application for gunicorn to serve, more easily moved to look whether a client is still welcome."""

from __future__ import annotations

import os

from flask import Flask

import app
from web import connection


def create_app() -> Flask:
    connection.RECHECK_SECONDS = float(os.environ.get("MC_TEST_RECHECK_SECONDS", connection.RECHECK_SECONDS))
    return app.create_app()
