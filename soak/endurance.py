"""A soak: clients work on a real board while a seeded schedule kills its processes, and then everything is compared."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.rows import WaitTimeout, wait_until
from database import reading
from tickets.runs import claims

from . import checker, leftovers, samples
from .board import Board, create_board
from .clients import END_SECONDS, Client
from .history import History
from .killer import Killer
from .samples import Sampler, Trend
from .schedule import STEADY_SHARE, build_schedule

CLIENTS = 4
SETTLE_SECONDS = 90.0
"""How long the last runs may take to be settled before the board is stopped."""


@dataclass(slots=True)
class SoakResult:
    """The result of a soak: what was done and how much of it, and every contradiction and leftover."""

    seed: int
    seconds: float
    strikes: dict[str, dict[str, int]] = field(default_factory=dict)
    schedule: list[dict[str, Any]] = field(default_factory=list)
    restarts: int = 0
    operations: dict[str, dict[str, int]] = field(default_factory=dict)
    repeats: int = 0
    counts: dict[str, Any] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    trends: list[Trend] = field(default_factory=list)
    steady_seconds: float = 0.0

    @property
    def growing(self) -> list[Trend]:
        return [trend for trend in self.trends if not trend.is_flat]

    @property
    def has_passed(self) -> bool:
        return not (self.contradictions or self.leftovers or self.growing)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.has_passed}


def run_soak(seed: int, seconds: float, output: Path) -> SoakResult:
    """Run a soak of a new board. Its history is written to `output`, and its logs and store after a failure."""
    result = SoakResult(seed, seconds)
    with create_board() as board:
        _Soak(board, result, output).run()
        if not result.has_passed:
            _keep_evidence(board, output)
    return result


class _Soak:
    def __init__(self, board: Board, result: SoakResult, output: Path) -> None:
        self._board = board
        self._result = result
        self._output = output
        self._history = History(output / "history.jsonl")
        self._killer = Killer(board, build_schedule(result.seed, result.seconds))
        self._closing = threading.Event()
        """Set when no ticket is created any more."""
        self._ended = threading.Event()

    def run(self) -> None:
        result = self._result
        self._board.start_board()
        start = time.monotonic()
        sampler = Sampler(self._board, self._ended)
        sampler.start()
        clients = [Client(self._board, self._history, n, result.seed, self._closing) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        self._killer.run(result.seconds * (1 - STEADY_SHARE))
        self._killer.disarm()
        self._wait(start + result.seconds - time.monotonic(), lambda: False)
        self._closing.set()
        self._wait(END_SECONDS + SETTLE_SECONDS, lambda: not any(client.is_alive() for client in clients))
        self._wait(SETTLE_SECONDS, self._is_settled)
        self._ended.set()
        since = start + result.seconds * (1 - STEADY_SHARE)
        result.trends = samples.compute_trends(sampler.samples, since)
        (self._output / "samples.json").write_text(json.dumps([asdict(sample) for sample in sampler.samples]))
        result.steady_seconds = round(time.monotonic() - since, 1)
        self._compare()

    def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait, and keep the board running."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not is_over():
            self._killer.restart_board()
            time.sleep(0.5)

    def _is_settled(self) -> bool:
        """Return True when no run is live and nothing of one is left."""
        with reading(self._board.engine) as session:
            live = claims.list_live(session)
        return not live and not leftovers.find_run_leftovers(self._board)

    def _compare(self) -> None:
        """Stop the board, and compare the history with the store."""
        board, result = self._board, self._result
        board.stop_board()
        try:
            wait_until(lambda: not leftovers.find_leftovers(board), "the end of all processes", 15)
        except WaitTimeout:
            result.leftovers = leftovers.find_leftovers(board)
        result.strikes = self._killer.count()
        result.schedule = [strike.to_json() for strike in self._killer.results]
        result.restarts = self._killer.restarts
        result.operations, result.repeats = self._history.count(), self._history.repeats
        result.contradictions = checker.check_board(board, self._history)
        with reading(board.engine) as session:
            result.counts = count_content(board, checker.load_content(session))


def count_content(board: Board, content: checker.StoreContent) -> dict[str, Any]:
    """Count the rows that were compared."""
    return {
        "tickets": len(content.tickets),
        "tickets by state": _count(ticket.status for ticket in content.tickets),
        "runs": len(content.runs),
        "runs by outcome": _count(run.outcome for run in content.runs),
        "messages by state": _count(message.state for message in content.messages),
        "messages repeated to a new process after the wrapper died": checker.count_repeated_messages(board, content),
        "events": len(content.events),
    }


def _count(values: Iterable[object]) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values).items()))


def _keep_evidence(board: Board, output: Path) -> None:
    for name in ("logs", "runs", "mc.db", "mc.db-wal"):
        source = board.settings.home / name
        if source.is_dir():
            shutil.copytree(source, output / name, symlinks=True, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, output / name)


def format_result(result: SoakResult) -> Sequence[str]:
    """Format the result as lines of text."""
    lines = [f"seed {result.seed}, {result.seconds:g} s, board restarted {result.restarts} times"]
    lines += ["", "strikes:"]
    lines += [f"  {target:20} {_format_counts(counts)}" for target, counts in result.strikes.items()]
    lines += ["", f"operations of {CLIENTS} clients ({result.repeats} requests repeated):"]
    lines += [f"  {kind:20} {_format_counts(counts)}" for kind, counts in result.operations.items()]
    lines += ["", "in the store:"]
    lines += [
        f"  {name}: {_format_counts(count) if isinstance(count, dict) else count}"
        for name, count in result.counts.items()
    ]
    lines += ["", f"steady part, {result.steady_seconds:g} s, a sample each {samples.INTERVAL_SECONDS:g} s:"]
    lines += [
        f"  {trend.owner:20} {trend.figure:12} {trend.first:8.1f} to {trend.last:8.1f}, slope {trend.hourly:+8.2f} an hour,"
        f" {trend.samples} samples{'' if trend.is_flat else ', GROWS'}"
        for trend in result.trends
    ]
    for title, problems in (("contradictions", result.contradictions), ("leftovers", result.leftovers)):
        lines += ["", f"{title}: {len(problems)}", *(f"  {problem}" for problem in problems)]
    return [*lines, "", "passed" if result.has_passed else "FAILED"]


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"
