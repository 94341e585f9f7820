"""Measurements of pages: the first after a start, the board as it grows, and the memory of the web workers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .installation import Installation, create_installation, parse_server_seconds
from .rows import ResultRow, build_percentile_rows, compute_percentile, measure_pace, measure_seconds

SIZES = (100, 10_000)
MAX_TICKETS = 100_000
COMMENT_COUNT = 60
"""The number of comments on a page of a conversation."""
PAGES = (
    ("board", "/board?view=columns"),
    ("board as lanes", "/board?view=lanes"),
    ("board as a list", "/board?view=list"),
    ("list by priority", "/board?view=list&sort=priority"),
    ("one column again", "/board/column/todo?view=columns"),
    ("ticket", "/ticket/MC-1"),
    ("ticket that was talked about", "/ticket/MC-2"),
    ("overview", "/"),
    ("search", "/api/v1/tickets?q=measure"),
)
COMMENT = "It is read **twice**, see `read()`:\n\n```python\nread(path)\nread(path)\n```\n\n- once is enough\n- so I took one away"
COLUMN_SIZE = 31
MOVES: dict[str, dict[str, str]] = {
    "close": {"note": "It was done by hand."},
    "cancel": {},
    "block": {"reason": "needs_human", "owner": "operator", "next_action": "Give it the key."},
}
STATES: tuple[dict[str, Any], ...] = (
    {},
    {"status": "inbox"},
    {"status": "waiting", "wake": {"kind": "manual"}},
    {"status": "waiting", "wake": {"kind": "time", "at": "2000-01-01T00:00:00Z"}},
)


def measure_first_page() -> Iterator[ResultRow]:
    """Measure the time from the start of the server process to the first board page."""
    seconds = []
    for _ in range(3):
        with create_installation() as instance:
            seconds.append(measure_seconds(lambda instance=instance: (instance.serve(), instance.get("/board"))))  # type: ignore[misc]
    yield ResultRow("start to first page", compute_percentile(seconds, 50), "s", "the middle of 3")


def measure_pages() -> Iterator[ResultRow]:
    """Measure pages of a growing board (views, ticket, overview, search) and the memory of a web worker."""
    yield from _measure_pages(SIZES)


def measure_many_pages() -> Iterator[ResultRow]:
    """Measure the same pages with a hundred thousand tickets, which take a while to create."""
    yield from _measure_pages((MAX_TICKETS,))


def _measure_pages(sizes: Sequence[int]) -> Iterator[ResultRow]:
    with create_installation(MC_WEB_WORKERS=1) as instance:
        master, present = instance.serve(), 0
        for size in sizes:
            for facts in STATES:
                instance.create_tickets((size - present) // len(STATES), **facts)
            if not present:
                instance.add_comments("MC-2", (f"{number}. {COMMENT}" for number in range(COMMENT_COUNT)))
            present = size
            for name, path in PAGES:
                yield from _build_rows(f"{name} with {size:,} tickets", _visit_repeatedly(instance, path))
        fill_every_column(instance)
        yield from _build_rows(
            f"board with every column full and {present:,} tickets", _visit_repeatedly(instance, PAGES[0][1])
        )
        yield ResultRow(
            "memory of a web worker", measure_megabytes(_find_child(master)), "MB", "resident, after these pages"
        )


def fill_every_column(instance: Installation) -> None:
    """Create tickets in the columns that only work and people fill."""
    for verdict in ("question", "review"):
        for ticket_id in instance.create_tickets(COLUMN_SIZE):
            instance.finish_run(ticket_id, verdict)
    for move, facts in MOVES.items():
        for ticket_id in instance.create_tickets(COLUMN_SIZE):
            instance.move(ticket_id, move, **facts)
    for ticket_id in instance.create_tickets(COLUMN_SIZE):
        instance.claim(ticket_id)


class Visit(NamedTuple):
    """The seconds of a page over a new connection, the server's part of them, and the machine's pace at that time."""

    whole: float
    server: float
    pace: float


def _visit_repeatedly(instance: Installation, path: str) -> list[Visit]:
    instance.get(path)
    return [_visit(instance, path) for _ in range(30)]


def _visit(instance: Installation, path: str) -> Visit:
    start = time.perf_counter()
    headers, _ = instance.exchange(instance.connect(), "GET", path)
    whole = time.perf_counter() - start
    return Visit(whole, parse_server_seconds(headers), measure_pace())


def _build_rows(name: str, visits: Sequence[Visit]) -> Iterator[ResultRow]:
    yield from build_percentile_rows(name, [visit.whole for visit in visits])
    yield ResultRow(f"{name}, the server, p50", compute_percentile([visit.server for visit in visits], 50) * 1000, "ms")
    yield ResultRow(
        f"{name}, in paces, p50",
        compute_percentile([visit.server / visit.pace for visit in visits], 50),
        "",
        "the server",
    )


def _find_child(master: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()[0])


def measure_megabytes(pid: int) -> float:
    """Measure the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024
