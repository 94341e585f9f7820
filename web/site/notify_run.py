"""Tell a live run to look at once: a datagram to its socket. The run's heartbeat would tell it anyway, a little later."""

from __future__ import annotations

import socket

from settings import Settings


def notify_run(settings: Settings, run_id: int) -> None:
    """Never waits and never fails: a run that has no socket, or is not there any more, learns it in another way."""
    address = settings.sockets_dir / f"run-{run_id}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.sendto(b"look", str(address))
        except OSError:
            return
