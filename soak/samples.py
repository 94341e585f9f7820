"""Samples of memory, threads, descriptors and the write-ahead log, and their slope."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.idle import measure_megabytes
from workers.host import processes

from .board import Board
from .schedule import LONG_LIVED

INTERVAL_SECONDS = 10.0
WARM_UP_SECONDS = 30.0
"""The time after the first sample of a process in which it still loads what it needs, and is not measured."""
MIN_SAMPLES = 3
LIMITS = {"memory MB": 12.0, "threads": 4.0, "descriptors": 8.0, "WAL MB": 24.0}
"""The growth over the time of measurement up to which a figure counts as flat."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. `owner` is a process, such as `scheduler 4711`, or the store."""

    at: float
    owner: str
    figure: str
    value: float


@dataclass(frozen=True, slots=True)
class Trend:
    """The course of a figure: its first and last value, the slope in an hour, and the growth by the slope in the time."""

    owner: str
    figure: str
    samples: int
    first: float
    last: float
    hourly: float
    growth: float

    @property
    def is_flat(self) -> bool:
        return self.growth <= LIMITS[self.figure]


class Sampler(threading.Thread):
    """Takes samples of a board every ten seconds until `ending` is set."""

    def __init__(self, board: Board, ending: threading.Event) -> None:
        super().__init__(name="sampler", daemon=True)
        self._board = board
        self._ending = ending
        self.samples: list[Sample] = []

    def run(self) -> None:
        while not self._ending.wait(INTERVAL_SECONDS):
            self.samples += take_samples(self._board)


def take_samples(board: Board) -> list[Sample]:
    """Take one sample of each figure."""
    at = time.monotonic()
    wal = board.settings.home / "mc.db-wal"
    samples = [Sample(at, "store", "WAL MB", wal.stat().st_size / (1 << 20) if wal.exists() else 0.0)]
    for process in board.list_processes(*LONG_LIVED):
        owner, folder = f"{process.kind} {process.identity.pid}", processes.PROC / str(process.identity.pid)
        with suppress(OSError):
            values = {
                "memory MB": measure_megabytes(process.identity.pid),
                "threads": len(list((folder / "task").iterdir())),
                "descriptors": len(list((folder / "fd").iterdir())),
            }
            samples += [Sample(at, owner, figure, value) for figure, value in values.items()]
    return samples


def compute_trends(samples: Sequence[Sample], since: float) -> list[Trend]:
    """Compute the trend of each figure from the samples after `since`, where there are enough of them."""
    series: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    starts: dict[str, float] = {}
    for sample in samples:
        warm = starts.setdefault(sample.owner, sample.at) + WARM_UP_SECONDS
        if sample.at >= max(since, warm):
            series[sample.owner, sample.figure].append(sample)
    return [_compute_trend(points) for points in series.values() if len(points) >= MIN_SAMPLES]


def _compute_trend(points: Sequence[Sample]) -> Trend:
    """Compute the slope by least squares."""
    count, start = len(points), points[0].at
    mean_time = sum(point.at - start for point in points) / count
    mean_value = sum(point.value for point in points) / count
    spread = sum((point.at - start - mean_time) ** 2 for point in points)
    slope = sum((point.at - start - mean_time) * (point.value - mean_value) for point in points) / spread
    duration = points[-1].at - start
    first, last = points[0], points[-1]
    return Trend(first.owner, first.figure, count, first.value, last.value, slope * 3600, slope * duration)
