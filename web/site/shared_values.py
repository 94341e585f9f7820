"""Counters and gauges of all web processes in shared memory, each process writing to its own slot.

The memory is allocated before gunicorn forks. Since each worker has its own slot, no lock between processes is needed.
The memory is anonymous, not a mapped file: on a full disk, writing to a mapped file kills the process (SIGBUS).
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable, Iterator

MAX_SLOTS = 256
MAX_VALUES = 4096
"""Number of values in a slot. Values that are never written take no memory."""
NUMBER_BYTES = 8
UNUSED, ENDED = 0, -1
"""Markers in place of a process id: a slot that was never used, and one whose process has ended."""

Name = tuple[str, ...]


class SharedValues:
    """Counters and gauges by name. When a process ends, its counters are kept and its gauges reset."""

    def __init__(self) -> None:
        self._pids = _allocate(MAX_SLOTS)
        self._values = _allocate(MAX_SLOTS * MAX_VALUES)
        self._positions: dict[Name, int] = {}
        self._gauges: list[Name] = []
        self._lock = threading.Lock()
        self.begin(0)

    def declare(self, names: Iterable[Name], *, gauges: bool = False) -> None:
        """Assign a position to each new name, before the fork, so that it is the same in all processes."""
        new = [name for name in dict.fromkeys(names) if name not in self._positions]
        if len(self._positions) + len(new) > MAX_VALUES:
            raise ValueError(f"{len(new)} more names do not fit into {MAX_VALUES} values: raise MAX_VALUES")
        for name in new:
            self._positions[name] = len(self._positions)
        self._gauges += new if gauges else []

    def begin(self, slot: int) -> None:
        """Let this process write to a slot, continuing the counters of the process that had it before."""
        self._start = slot * MAX_VALUES
        for name in self._gauges:
            self.set(name, 0)
        self._pids[slot] = os.getpid()

    def end(self, slot: int) -> None:
        """Reset the gauges of a process that has ended."""
        self._pids[slot] = ENDED

    def __contains__(self, name: Name) -> bool:
        return name in self._positions

    def add(self, name: Name, amount: float = 1) -> None:
        with self._lock:
            self._values[self._start + self._positions[name]] += amount

    def set(self, name: Name, value: float) -> None:
        self._values[self._start + self._positions[name]] = value

    def totals(self) -> dict[Name, float]:
        """Sum each value over all processes, ended ones included, without the zeros."""
        sums = map(sum, zip(*(row for _, row in self._rows()), strict=True))
        return {name: value for name, value in zip(self._positions, sums, strict=False) if value}

    def gauges(self) -> dict[int, dict[Name, float]]:
        """Return the gauges of each live process, by process id."""
        return {pid: {name: row[self._positions[name]] for name in self._gauges} for pid, row in self._living()}

    def _living(self) -> Iterator[tuple[int, memoryview[float]]]:
        return ((pid, row) for pid, row in self._rows() if pid != ENDED)

    def _rows(self) -> Iterator[tuple[int, memoryview[float]]]:
        for slot, pid in enumerate(self._pids):
            if pid != UNUSED:
                start = slot * MAX_VALUES
                yield int(pid), self._values[start : start + len(self._positions)]


class Gauge:
    """A value of this process that goes up and down, such as the number of running requests."""

    def __init__(self, values: SharedValues, *name: str) -> None:
        values.declare([name], gauges=True)
        self._values = values
        self.name = name

    def set(self, value: float) -> None:
        self._values.set(self.name, value)

    def add(self, amount: float) -> None:
        self._values.add(self.name, amount)


def _allocate(count: int) -> memoryview[float]:
    return memoryview(mmap.mmap(-1, count * NUMBER_BYTES)).cast("d")
