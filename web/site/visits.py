"""Visits of people, each recorded at most once a minute: a ticket that waits has been seen if somebody came by since."""

from __future__ import annotations

import time
from contextlib import suppress

from flask import Flask, Response

import auth
from database import StoreError, writing
from models import HealthStatus, now
from tickets.board import absence
from tickets.operations import store_checks
from tickets.schedule import tasks

INTERVAL_SECONDS = 60.0


def install(app: Flask) -> None:
    recorder = VisitRecorder()
    app.after_request(recorder.note)


class VisitRecorder:
    """Records that a person was shown a page."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def note(self, response: Response) -> Response:
        caller = auth.find_caller()
        is_page = response.status_code == 200 and response.mimetype == "text/html"
        if is_page and caller is not None and caller.cookie and time.monotonic() >= self._due.get(caller.actor.name, 0):
            self._due[caller.actor.name] = time.monotonic() + INTERVAL_SECONDS
            with suppress(StoreError), writing(auth.get_instance().engine, patient=False) as session:
                tasks.record_heartbeat(session, store_checks.VISIT, HealthStatus.OK, caller.actor.name)
                absence.record_visit(session, caller.actor.name, now())
        return response
