"""The real application for gunicorn to serve, more easily moved to look whether a client is still welcome, and to pass
for another release."""

from __future__ import annotations

import os

from flask import Flask

import app
from web.site import connection


def preload() -> Flask:
    connection.RECHECK_SECONDS = float(os.environ.get("MC_TEST_RECHECK_SECONDS", connection.RECHECK_SECONDS))
    made = app.preload()
    held = made.extensions["assets"]
    held.version = os.environ.get("MC_TEST_RELEASE", held.version)
    return made
