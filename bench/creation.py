"""Tickets made over HTTP by one client, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .installation import Installation, installation, server_seconds
from .rows import Row, percentile, timed

CREATES = 300
BODY = json.dumps({"title": "A ticket to measure with", "assigned_to": "script"}).encode()


def creates() -> Iterator[Row]:
    """Tickets created over HTTP with one client, and the server's own time for each."""
    with installation(MC_WEB_WORKERS=1) as here:
        here.serve()
        _create(here, 20)
        server: list[float] = []
        seconds = timed(lambda: server.extend(_create(here, CREATES)))
        yield Row("creates over HTTP, one client", CREATES / seconds, "/s")
        yield Row("create over HTTP, the server, p50", percentile(server, 50) * 1000, "ms")


def _create(here: Installation, count: int) -> list[float]:
    connection = here.connect()
    return [
        server_seconds(
            here.exchange(connection, "POST", "/api/v1/tickets", BODY, kind="application/json", status=201)[0]
        )
        for _ in range(count)
    ]
