"""The rows of results, and helpers to measure and compare times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One row of the table. `unit` is ms, s, MB or a count per second."""

    name: str
    value: float
    unit: str
    note: str = ""


Value = TypeVar("Value")
Measurement = Callable[[], Iterator[ResultRow]]


def compute_percentile(values: Sequence[float], percent: int) -> float:
    """Return the value below which `percent` of the values lie (nearest rank)."""
    sorted_values = sorted(values)
    return sorted_values[min(len(sorted_values) - 1, len(sorted_values) * percent // 100)]


def build_percentile_rows(name: str, seconds: Sequence[float]) -> Iterator[ResultRow]:
    """Yield the 50th and the 99th percentile of some times, in milliseconds."""
    note = f"{len(seconds)} samples"
    yield ResultRow(f"{name}, p50", compute_percentile(seconds, 50) * 1000, "ms", note)
    yield ResultRow(f"{name}, p99", compute_percentile(seconds, 99) * 1000, "ms", note)


def measure_seconds(action: Callable[[], object]) -> float:
    """Measure the seconds that `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure_pace() -> float:
    """Measure the seconds for a fixed piece of Python, since many a machine changes its speed by half from minute to minute,
    and every result with it."""
    return min(measure_seconds(_run_exercise) for _ in range(3))


def _run_exercise() -> int:
    return sum(number * number for number in range(100_000))


class WaitTimeout(Exception):
    """The event to be measured did not happen."""


def wait_until(look: Callable[[], Value | None], description: str, seconds: float = 60) -> Value:
    """Poll every two milliseconds until `look` returns a value, and return that."""
    end = time.monotonic() + seconds
    while not (value := look()):
        if time.monotonic() > end:
            raise WaitTimeout(f"{description} did not happen within {seconds:g} seconds")
        time.sleep(0.002)
    return value
