"""Measurements of the event stream: from the POST of an event to the clients, and events per second."""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from models import format_timestamp, now
from tickets.runs.claims import RunClaim

from .installation import Installation, create_installation
from .rows import ResultRow, build_percentile_rows, measure_seconds

SINGLE, BATCHES, BATCH = 300, 20, 500


def measure_latency() -> Iterator[ResultRow]:
    """Measure one event at a time until every client has received it."""
    with create_installation(MC_WEB_WORKERS=1, MC_THREADS=240, SSE_MAX_TOTAL_CLIENTS=200) as instance:
        instance.serve()
        worker = EventReporter(instance)
        for clients, events in ((1, 200), (8, 200), (200, 30)):
            with ThreadPoolExecutor(1) as sender, StreamClients(instance, worker, clients) as audience:
                seconds = [s for _ in range(events) for s in audience.deliver_one(sender)]
            yield from build_percentile_rows(f"event POST to {clients} SSE client{'s' * (clients > 1)}", seconds)


def measure_throughput() -> Iterator[ResultRow]:
    """Measure the events per second that one run can report, one per request and 500 per request."""
    with create_installation() as instance:
        instance.serve()
        worker = EventReporter(instance)
        yield ResultRow(
            "events, one a request", SINGLE / measure_seconds(lambda: [worker.post(1) for _ in range(SINGLE)]), "/s"
        )
        seconds = measure_seconds(lambda: [worker.post(BATCH) for _ in range(BATCHES)])
        yield ResultRow(f"events, {BATCH} a request", BATCH * BATCHES / seconds, "/s")


class EventReporter:
    """A run that reports events through the API, as a wrapper does, over one connection."""

    def __init__(self, instance: Installation) -> None:
        self._here = instance
        self._claim: RunClaim = instance.claim(instance.create_tickets(1)[0])
        self._connection = http.client.HTTPConnection("127.0.0.1", instance.settings.port, timeout=60)
        self._numbers = count(1)
        self.ticket = self._claim.ticket.identifier

    def post(self, events: int) -> int:
        """Report a number of events in one request. Returns the number of the last one."""
        numbers = [next(self._numbers) for _ in range(events)]
        lines = [json.dumps(_build_event(number)) for number in numbers]
        path = f"/api/v1/tickets/{self.ticket}/events"
        self._here.request(self._connection, "POST", path, "\n".join(lines).encode(), self._claim.token)
        return numbers[-1]


def _build_event(number: int) -> dict[str, object]:
    payload = {"text": f"mark {number}."}
    return {"run_seq": number, "ts": format_timestamp(now()), "event_type": "agent.progress", "payload": payload}


class StreamClients:
    """The clients of one stream, read by one thread."""

    def __init__(self, instance: Installation, worker: EventReporter, clients: int) -> None:
        self._worker = worker
        self._selector = selectors.DefaultSelector()
        head = f"GET /api/v1/stream?tickets={worker.ticket} HTTP/1.0\r\nHost: localhost\r\n"
        head += f"Authorization: Bearer {instance.token}\r\n\r\n"
        for _ in range(clients):
            client = socket.create_connection(("127.0.0.1", instance.settings.port), timeout=60)
            client.sendall(head.encode())
            response = b""
            while b"id: " not in response:
                response += client.recv(65536)
            self._selector.register(client, selectors.EVENT_READ)

    def __enter__(self) -> StreamClients:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def deliver_one(self, sender: ThreadPoolExecutor) -> list[float]:
        """Post one event. Returns for each client the seconds until it has received all of it."""
        waiting = {key.fileobj: b"" for key in self._selector.get_map().values()}
        start = time.perf_counter()
        posted = sender.submit(self._worker.post, 1)
        latencies: list[float] = []
        while waiting:
            for key, _ in self._selector.select(60):
                client = key.fileobj
                data = client.recv(65536)  # type: ignore[union-attr]
                if not data:
                    raise ConnectionError("the server has ended a stream")
                if client not in waiting:  # a sign of life on a stream that has the event already
                    continue
                waiting[client] += data
                if b"mark " in waiting[client] and waiting[client].endswith(b"\n\n"):
                    latencies.append(time.perf_counter() - start)
                    del waiting[client]
        posted.result()
        return latencies
