"""Notify the wrapper of a live run, after the commit of what it should learn: a message, an answer, a decision, a stop."""

from __future__ import annotations

import socket

from sqlalchemy.orm import Session

from settings import Settings
from tickets.shared import lookup


def notify_run(settings: Settings, run_id: int | None) -> None:
    """Send a datagram to the run's socket. It never waits and never fails: the run's next heartbeat tells it the same."""
    if run_id is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.sendto(b"look", str(settings.run_socket(run_id)))
        except OSError:
            return


def stopping_run(session: Session, ticket_id: int) -> int | None:
    """The number of the ticket's live run that a move has told to stop."""
    run = lookup.find_live_run(session, ticket_id)
    return run.id if run is not None and run.stop_code else None
