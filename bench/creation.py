"""Measurement of tickets created over HTTP by one client, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .installation import Installation, create_installation, parse_server_seconds
from .rows import ResultRow, compute_percentile, measure_seconds

TICKET_COUNT = 300
BODY = json.dumps({"title": "A ticket to measure with", "assigned_to": "script"}).encode()


def measure_creation() -> Iterator[ResultRow]:
    """Measure tickets created over HTTP with one client, and the server's own time for each."""
    with create_installation(MC_WEB_WORKERS=1) as instance:
        instance.serve()
        _create_tickets(instance, 20)
        server_times: list[float] = []
        seconds = measure_seconds(lambda: server_times.extend(_create_tickets(instance, TICKET_COUNT)))
        yield ResultRow("creates over HTTP, one client", TICKET_COUNT / seconds, "/s")
        yield ResultRow("create over HTTP, the server, p50", compute_percentile(server_times, 50) * 1000, "ms")


def _create_tickets(instance: Installation, count: int) -> list[float]:
    connection = instance.connect()
    return [
        parse_server_seconds(
            instance.exchange(connection, "POST", "/api/v1/tickets", BODY, kind="application/json", status=201)[0]
        )
        for _ in range(count)
    ]
