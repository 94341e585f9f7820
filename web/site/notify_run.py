"""Notify a live run of news by a datagram to its socket, ahead of its next heartbeat, which reports the same."""

from __future__ import annotations

import socket

from settings import Settings


def notify_run(settings: Settings, run_id: int) -> None:
    """Make a run's wrapper ask for news at once.

    Never blocks and never fails: a run without a reachable socket gets the news with its next heartbeat.
    """
    address = settings.sockets_dir / f"run-{run_id}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.sendto(b"look", str(address))
        except OSError:
            return
