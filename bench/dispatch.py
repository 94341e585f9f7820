"""Claims against each other, a pass that finds nothing, and the time from runnable to running."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier

from sqlalchemy import event

from database import Session, open_engine, reading, writing
from jobs.dispatch_pass import Tally, claim_if_open
from jobs.job_context import set_up
from models import Run, RunState
from tickets.runs import claims as claims_module
from tickets.shared.errors import IllegalMove

from .board import megabytes
from .installation import Installation, installation
from .rows import Row, spread, timed, until

CLAIMS = 600
SCRIPT = "```sh\nsleep 2\n```\n"


def statements_of_claim() -> Iterator[Row]:
    """Statements between BEGIN and COMMIT of a claim: alone, and with the gates that a pass looks at once more."""
    with installation() as here:
        alone, gated = here.tickets(2)
        host = set_up(here.settings, here.engine)
        count = _statements(here, lambda session: claims_module.claim(session, alone, "bench"))
        yield Row("statements of a claim", count, "")
        count = _statements(here, lambda session: claim_if_open(session, host, gated, Tally()))
        yield Row("statements of a claim with its gates", count, "")


def _statements(here: Installation, write: Callable[[Session], object]) -> int:
    statements: list[object] = []
    with writing(here.engine) as session:
        event.listen(here.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
        write(session)
    return len(statements)


def claims() -> Iterator[Row]:
    """Processes that race for the same tickets; those that give up are told of."""
    for processes in (1, 4, 16):
        with installation() as here:
            ids = here.tickets(CLAIMS)
            seconds, gave_up = _race(here, ids, processes)
            with reading(here.engine) as session:
                claimed = len(claims_module.live(session))
        note = f"{gave_up} of {processes} gave up waiting for the store" if gave_up else ""
        yield Row(f"claims, {processes} racing for the same tickets", claimed / seconds, "/s", note)


def _race(here: Installation, ids: list[int], processes: int) -> tuple[float, int]:
    """Seconds from the start line until all have ended, and how many ended by an error."""
    context = multiprocessing.get_context("spawn")
    line = context.Barrier(processes + 1)
    url = here.settings.database_url
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
            with writing(engine, partial(claims_module.require_claimable, ticket_id=ticket_id)) as session:
                claims_module.claim(session, ticket_id, "bench")
        except IllegalMove:
            continue


def pickup() -> Iterator[Row]:
    """A dispatch pass as its timer starts it, with nothing to do: alone, and beside a living scheduler."""
    with installation() as here:
        yield from spread("pickup with nothing to do", _passes(here))
    with installation() as here:
        here.serve_whole()
        yield from spread("pickup with nothing to do, beside a scheduler", _passes(here))


def _passes(here: Installation) -> list[float]:
    return [timed(lambda: _pass(here)) for _ in range(10)]


def _pass(here: Installation) -> None:
    code = here.start("mc_pickup.py").wait(60)
    if code != 0:
        raise RuntimeError(f"the pass ended with {code}: {(here.settings.logs_dir / 'bench.log').read_text()[-500:]}")


def start_of_runs() -> Iterator[Row]:
    """From a ticket that becomes runnable to its agent at work, and what the wrapper beside it weighs."""
    with installation() as here:
        here.serve()
        here.start("mc_pickup.py", "--watch")
        _run_one(here)  # the first one also waits for the dispatcher's own start
        measured = [_run_one(here) for _ in range(5)]
        yield from spread("runnable to running", [seconds for seconds, _ in measured])
        yield Row("memory of a run wrapper", max(memory for _, memory in measured), "MB", "resident, the largest of 5")


def _run_one(here: Installation) -> tuple[float, float]:
    """Let one ticket be worked to its end; seconds until its agent ran, and megabytes of its wrapper."""
    start = time.perf_counter()
    (ticket_id,) = here.tickets(1, description=SCRIPT)
    run = _wait_for(here, ticket_id, RunState.RUNNING)
    seconds = time.perf_counter() - start
    assert run.pid is not None, "a run that runs has told its process"
    memory = megabytes(run.pid)
    _wait_for(here, ticket_id, RunState.ENDED)
    return seconds, memory


def _wait_for(here: Installation, ticket_id: int, state: RunState) -> Run:
    def look() -> Run | None:
        with reading(here.engine) as session:
            found = claims_module.list_runs(session, ticket_id, limit=1)
        return found[0] if found and found[0].state is state else None

    return until(look, f"a run that is {state}")
