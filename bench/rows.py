"""What a measurement yields, and how numbers are made comparable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `unit` is ms, s, MB or a count per second."""

    name: str
    value: float
    unit: str
    note: str = ""


Value = TypeVar("Value")
Measurement = Callable[[], Iterator[Row]]


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which `percent` of the values lie; nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def spread(name: str, seconds: Sequence[float]) -> Iterator[Row]:
    """The middle and the worst hundredth of some times, in milliseconds."""
    note = f"{len(seconds)} samples"
    yield Row(f"{name}, p50", percentile(seconds, 50) * 1000, "ms", note)
    yield Row(f"{name}, p99", percentile(seconds, 99) * 1000, "ms", note)


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def pace() -> float:
    """Seconds for a fixed piece of Python: many a machine changes its speed by half from minute to minute, and every figure
    with it."""
    return min(timed(_exercise) for _ in range(3))


def _exercise() -> int:
    return sum(number * number for number in range(100_000))


class PatienceLost(Exception):
    """What is measured did not happen at all."""


def until(look: Callable[[], Value | None], what: str, seconds: float = 60) -> Value:
    """Look every two milliseconds until there is something, and return it."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise PatienceLost(f"{what} did not come within {seconds:g} seconds")
        time.sleep(0.002)
    return found
