"""The real application in a process of its own: `python -m tests.jobs.served_board`, configured by the environment."""

from __future__ import annotations

from werkzeug.serving import make_server

import app
import settings

if __name__ == "__main__":
    loaded_settings = settings.load()
    make_server("127.0.0.1", loaded_settings.port, app.create_app(loaded_settings), threaded=True).serve_forever(0.05)
