"""Numbers that every web process writes for itself and reads of all the others, in memory that they share.

The memory is allocated before gunicorn forks, and each worker has a slot of its own in it, so no lock between processes
is needed. There is no file: on a full disk a mapped file ends the process that writes to it (SIGBUS).
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable, Iterator

MAX_SLOTS = 256
MAX_VALUES = 4096
"""Of one slot; those that are never touched take no memory."""
NUMBER_BYTES = 8
UNUSED, ENDED = 0, -1
"""Instead of a process id: a slot that no process has had yet, and one whose process has ended."""

Name = tuple[str, ...]


class SharedValues:
    """Counters and gauges by name. What a process counted stays when it ends, its gauges do not."""

    def __init__(self) -> None:
        self._pids = _allocate(MAX_SLOTS)
        self._values = _allocate(MAX_SLOTS * MAX_VALUES)
        self._positions: dict[Name, int] = {}
        self._gauges: list[Name] = []
        self._lock = threading.Lock()
        self.begin(0)

    def declare(self, names: Iterable[Name], *, gauges: bool = False) -> None:
        """Give each new name a position, the same in every slot; before the fork, so that all processes agree."""
        new = [name for name in dict.fromkeys(names) if name not in self._positions]
        if len(self._positions) + len(new) > MAX_VALUES:
            raise ValueError(f"{len(new)} more names do not fit into {MAX_VALUES} values: raise MAX_VALUES")
        for name in new:
            self._positions[name] = len(self._positions)
        self._gauges += new if gauges else []

    def begin(self, slot: int) -> None:
        """Let this process write to a slot: its counters go on from where the process before it left them."""
        self._start = slot * MAX_VALUES
        for name in self._gauges:
            self.set(name, 0)
        self._pids[slot] = os.getpid()

    def end(self, slot: int) -> None:
        """Forget the gauges of a process that has ended."""
        self._pids[slot] = ENDED

    def __contains__(self, name: Name) -> bool:
        return name in self._positions

    def add(self, name: Name, amount: float = 1) -> None:
        with self._lock:
            self._values[self._start + self._positions[name]] += amount

    def set(self, name: Name, value: float) -> None:
        self._values[self._start + self._positions[name]] = value

    def totals(self) -> dict[Name, float]:
        """The sum of each name over all processes, ended ones included; those that are zero are left out."""
        sums = map(sum, zip(*(row for _, row in self._rows()), strict=True))
        return {name: value for name, value in zip(self._positions, sums, strict=False) if value}

    def gauges(self) -> dict[int, dict[Name, float]]:
        """The gauges of each process that is alive, by its process id."""
        return {pid: {name: row[self._positions[name]] for name in self._gauges} for pid, row in self._living()}

    def _living(self) -> Iterator[tuple[int, memoryview[float]]]:
        return ((pid, row) for pid, row in self._rows() if pid != ENDED)

    def _rows(self) -> Iterator[tuple[int, memoryview[float]]]:
        for slot, pid in enumerate(self._pids):
            if pid != UNUSED:
                start = slot * MAX_VALUES
                yield int(pid), self._values[start : start + len(self._positions)]


class Gauge:
    """A number of this process that goes up and down."""

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
