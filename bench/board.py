"""Pages: the first after a start, the board as it grows, and the memory of who serves them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .installation import Installation, installation, server_seconds
from .rows import Row, pace, percentile, spread, timed

SIZES = (100, 10_000)
LARGEST = 100_000
SAID = 60
"""As many as a page of a conversation shows."""
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
WORDS = "It is read **twice**, see `read()`:\n\n```python\nread(path)\nread(path)\n```\n\n- once is enough\n- so I took one away"
FULL = 31
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


def first_page() -> Iterator[Row]:
    """From the start of the server process to the board in hand."""
    seconds = []
    for _ in range(3):
        with installation() as here:
            seconds.append(timed(lambda here=here: (here.serve(), here.get("/board"))))  # type: ignore[misc]
    yield Row("start to first page", percentile(seconds, 50), "s", "the middle of 3")


def pages() -> Iterator[Row]:
    """How the cost of the board's views, a ticket, the overview and a search grows, and what a web worker then weighs."""
    yield from _pages(SIZES)


def pages_of_very_many() -> Iterator[Row]:
    """The same among a hundred thousand tickets, which take their time to make."""
    yield from _pages((LARGEST,))


def _pages(sizes: Sequence[int]) -> Iterator[Row]:
    with installation(MC_WEB_WORKERS=1) as here:
        master, present = here.serve(), 0
        for size in sizes:
            for facts in STATES:
                here.tickets((size - present) // len(STATES), **facts)
            if not present:
                here.talk("MC-2", (f"{number}. {WORDS}" for number in range(SAID)))
            present = size
            for name, path in PAGES:
                yield from _visited(f"{name} with {size:,} tickets", _visits(here, path))
        _fill_every_column(here)
        yield from _visited(f"board with every column full and {present:,} tickets", _visits(here, PAGES[0][1]))
        yield Row("memory of a web worker", megabytes(_child(master)), "MB", "resident, after these pages")


def _fill_every_column(here: Installation) -> None:
    """Tickets where only work and people bring them."""
    for verdict in ("question", "review"):
        for ticket_id in here.tickets(FULL):
            here.work(ticket_id, verdict)
    for move, facts in MOVES.items():
        for ticket_id in here.tickets(FULL):
            here.move(ticket_id, move, **facts)
    for ticket_id in here.tickets(FULL):
        here.claim(ticket_id)


class Visit(NamedTuple):
    """Seconds: a page over a connection of its own, what of it the server worked, and the machine's pace just then."""

    whole: float
    server: float
    pace: float


def _visits(here: Installation, path: str) -> list[Visit]:
    here.get(path)
    return [_visit(here, path) for _ in range(30)]


def _visit(here: Installation, path: str) -> Visit:
    start = time.perf_counter()
    headers, _ = here.exchange(here.connect(), "GET", path)
    whole = time.perf_counter() - start
    return Visit(whole, server_seconds(headers), pace())


def _visited(name: str, visits: Sequence[Visit]) -> Iterator[Row]:
    yield from spread(name, [visit.whole for visit in visits])
    yield Row(f"{name}, the server, p50", percentile([visit.server for visit in visits], 50) * 1000, "ms")
    yield Row(
        f"{name}, in paces, p50", percentile([visit.server / visit.pace for visit in visits], 50), "", "the server"
    )


def _child(master: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()[0])


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024
