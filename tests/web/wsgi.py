"""The real application for gunicorn, with a shorter interval of authorization checks and an optional other release."""

from __future__ import annotations

import os

from flask import Flask

import app
from web.site import stream_response


def preload() -> Flask:
    stream_response.RECHECK_SECONDS = float(os.environ.get("MC_TEST_RECHECK_SECONDS", stream_response.RECHECK_SECONDS))
    application = app.preload()
    assets = application.extensions["assets"]
    assets.version = os.environ.get("MC_TEST_RELEASE", assets.version)
    return application
