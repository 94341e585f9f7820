"""Carries out a kill schedule on a board, and keeps the board running as systemd does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from failpoints import Failpoint

from .board import Board, ProcessKind, kill_process
from .schedule import BOARD_POINTS, Strike

POLL_SECONDS = 0.2
PROGRAMS = {ProcessKind.PICKUP: "mc_pickup.py", ProcessKind.REAPER: "queue_reaper.py"}
OTHER_SETTINGS = {"MC_LOG_LEVEL": "debug"}
"""A pickup with other settings than the scheduler's makes its pass itself."""


@dataclass(frozen=True, slots=True)
class StrikeResult:
    """A strike that was carried out. `pid` is None when nothing was there to be killed, and for a failpoint."""

    strike: Strike
    pid: int | None
    note: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self.strike) | {"target": self.strike.target.value, "pid": self.pid, "note": self.note}


class Killer:
    """Carries out the strikes of a schedule."""

    def __init__(self, board: Board, schedule: list[Strike]) -> None:
        self._board = board
        self._schedule = schedule
        self._reached: Counter[str] = Counter()
        self.results: list[StrikeResult] = []
        self.restarts = 0

    def run(self, steady_from: float) -> None:
        """Carry out the schedule. From `steady_from` seconds on, no failpoint ends a process of the board."""
        start = time.monotonic()
        for strike in self._schedule:
            if strike.at >= steady_from:
                self.disarm(BOARD_POINTS)
            while time.monotonic() < start + strike.at:
                self.restart_board()
                time.sleep(POLL_SECONDS)
            self.results.append(self._carry_out(strike))
            self.restart_board()

    def restart_board(self) -> None:
        """Start the board again if `mc serve` has ended."""
        if self._board.parent is not None and self._board.parent.poll() is not None:
            self._board.start_board()
            self.restarts += 1

    def _carry_out(self, strike: Strike) -> StrikeResult:
        if isinstance(strike.target, Failpoint):
            self._count_reached()
            (self._board.failpoints / strike.target).touch()
            return StrikeResult(strike, None, "armed")
        if strike.target in PROGRAMS:
            return self._kill_program(strike, strike.target)
        living = self._board.list_processes(strike.target)
        if not living:
            return StrikeResult(strike, None, "none was alive")
        process = living[int(strike.choice * len(living))]
        return StrikeResult(strike, process.identity.pid, "killed" if kill_process(process) else "ended before")

    def _kill_program(self, strike: Strike, kind: ProcessKind) -> StrikeResult:
        """Start a program of the timers and kill it in its work."""
        program = self._board.start(PROGRAMS[kind], variables=OTHER_SETTINGS)
        time.sleep(strike.delay)
        is_alive = program.poll() is None
        program.kill()
        program.wait()
        return StrikeResult(strike, program.pid, "killed" if is_alive else "ended before")

    def _count_reached(self) -> None:
        for file in self._board.failpoints.glob("*.reached"):
            self._reached[file.stem] += 1
            file.unlink()

    def disarm(self, points: Collection[Failpoint] = tuple(Failpoint)) -> None:
        """Disarm the failpoints that no process has reached."""
        self._count_reached()
        for point in points:
            (self._board.failpoints / point).unlink(missing_ok=True)

    def count(self) -> dict[str, dict[str, int]]:
        """Count the strikes by target and result."""
        counts: dict[str, Counter[str]] = {}
        for result in self.results:
            counts.setdefault(result.strike.target.value, Counter())[result.note] += 1
        for point, times in self._reached.items():
            counts.setdefault(point, Counter())["killed"] = times
        return {target: dict(count) for target, count in sorted(counts.items())}
