"""A board served by real gunicorn, with a run of a talking agent in real tmux, and people at WebSockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from websockets.sync.client import ClientConnection, connect

from models import QueuedMessage, Run, Scope, open_engine, reading, writing
from settings import Settings
from tests.streams.conftest import Server
from tests.waiting import wait_until
from tests.web import talker
from tests.workers.runs import spec_for
from tickets import lifecycle, lookup, runs, tokens
from tickets.actors import Actor
from tickets.facts import NewTicket
from workers import launch
from workers.tmux import Tmux

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = Actor.system("test")


class Stage(Server):
    """The served board; `close` ends everything that was started on it."""

    application = "tests.web.wsgi:create_app()"
    sign = "/healthz"

    def __init__(self, home: Path, **settings: object) -> None:
        super().__init__(home, **settings)
        self.settings = Settings(home=home, port=self.port)
        self.tmux = Tmux(f"mc-{self.settings.instance}", self.settings.sockets_dir)
        self.markers: list[str] = []
