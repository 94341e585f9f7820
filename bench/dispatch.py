"""Measurements of racing claims, a pass without work, and the time from runnable to running."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier

from sqlalchemy import event

from database import Session, open_engine, reading, writing
from jobs.dispatch_pass import PassCounts, claim_if_open
from jobs.job_context import build_context
from models import Run, RunState
from tickets.runs import claims
from tickets.shared.errors import IllegalMove

from .board import measure_megabytes
from .installation import Installation, create_installation
from .rows import ResultRow, build_percentile_rows, measure_seconds, wait_until

TICKET_COUNT = 600
DESCRIPTION = "```sh\nsleep 2\n```\n"


def measure_claim_statements() -> Iterator[ResultRow]:
    """Count the statements between BEGIN and COMMIT of a claim: alone, and with the gates that a pass checks again."""
    with create_installation() as instance:
        alone, gated = instance.create_tickets(2)
        host = build_context(instance.settings, instance.engine)
        count = _count_statements(instance, lambda session: claims.claim_ticket(session, alone, "bench"))
        yield ResultRow("statements of a claim", count, "")
        count = _count_statements(instance, lambda session: claim_if_open(session, host, gated, PassCounts()))
        yield ResultRow("statements of a claim with its gates", count, "")


def _count_statements(instance: Installation, write: Callable[[Session], object]) -> int:
    statements: list[object] = []
    with writing(instance.engine) as session:
        event.listen(instance.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
        write(session)
    return len(statements)


def measure_claims() -> Iterator[ResultRow]:
    """Measure processes that race for the same tickets, with a note about those that gave up."""
    for processes in (1, 4, 16):
        with create_installation() as instance:
            ids = instance.create_tickets(TICKET_COUNT)
            seconds, gave_up = _race_claims(instance, ids, processes)
            with reading(instance.engine) as session:
                claimed = len(claims.list_live(session))
        note = f"{gave_up} of {processes} gave up waiting for the store" if gave_up else ""
        yield ResultRow(f"claims, {processes} racing for the same tickets", claimed / seconds, "/s", note)


def _race_claims(instance: Installation, ids: list[int], processes: int) -> tuple[float, int]:
    """Return the seconds from the common start until all processes have ended, and how many ended with an error."""
    context = multiprocessing.get_context("spawn")
    line = context.Barrier(processes + 1)
    url = instance.settings.database_url
    rivals = [context.Process(target=_claim_all, args=(url, ids, line), daemon=True) for _ in range(processes)]
    for rival in rivals:
        rival.start()
    line.wait(60)
    start = time.perf_counter()
    for rival in rivals:
        rival.join()
    return time.perf_counter() - start, sum(rival.exitcode != 0 for rival in rivals)


def _claim_all(url: str, ids: list[int], line: Barrier) -> None:
    engine = open_engine(url)
    line.wait(60)
    for ticket_id in ids:
        try:
            with writing(engine, partial(claims.require_claimable, ticket_id=ticket_id)) as session:
                claims.claim_ticket(session, ticket_id, "bench")
        except IllegalMove:
            continue


def measure_pickup() -> Iterator[ResultRow]:
    """Measure a dispatch pass without work as its timer starts it: alone, and with a running scheduler."""
    with create_installation() as instance:
        yield from build_percentile_rows("pickup with nothing to do", _time_passes(instance))
    with create_installation() as instance:
        instance.serve_all()
        yield from build_percentile_rows("pickup with nothing to do, beside a scheduler", _time_passes(instance))


def _time_passes(instance: Installation) -> list[float]:
    return [measure_seconds(lambda: _make_pass(instance)) for _ in range(10)]


def _make_pass(instance: Installation) -> None:
    code = instance.start("mc_pickup.py").wait(60)
    if code != 0:
        raise RuntimeError(
            f"the pass ended with {code}: {(instance.settings.logs_dir / 'bench.log').read_text()[-500:]}"
        )


def measure_run_start() -> Iterator[ResultRow]:
    """Measure the time from a runnable ticket to its working agent, and the memory of its wrapper."""
    with create_installation() as instance:
        instance.serve()
        instance.start("mc_pickup.py", "--watch")
        _run_one(instance)  # the first one also waits for the start of the dispatcher
        samples = [_run_one(instance) for _ in range(5)]
        yield from build_percentile_rows("runnable to running", [seconds for seconds, _ in samples])
        yield ResultRow(
            "memory of a run wrapper", max(memory for _, memory in samples), "MB", "resident, the largest of 5"
        )


def _run_one(instance: Installation) -> tuple[float, float]:
    """Run one ticket to its end. Returns the seconds until its agent ran, and the megabytes of its wrapper."""
    start = time.perf_counter()
    (ticket_id,) = instance.create_tickets(1, description=DESCRIPTION)
    run = _wait_for(instance, ticket_id, RunState.RUNNING)
    seconds = time.perf_counter() - start
    assert run.pid is not None, "a run that runs has told its process"
    memory = measure_megabytes(run.pid)
    _wait_for(instance, ticket_id, RunState.ENDED)
    return seconds, memory


def _wait_for(instance: Installation, ticket_id: int, state: RunState) -> Run:
    def look() -> Run | None:
        with reading(instance.engine) as session:
            runs = claims.list_runs(session, ticket_id, limit=1)
        return runs[0] if runs and runs[0].state is state else None

    return wait_until(look, f"a run that is {state}")
