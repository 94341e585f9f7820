"""Measurement of the memory and CPU time of an idle board."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .installation import create_installation
from .rows import ResultRow

SETTLE_SECONDS = 20
"""The time in which a new board probes programs and projects."""
IDLE_SECONDS = 60
TICKS = os.sysconf("SC_CLK_TCK")


def measure_idle_board() -> Iterator[ResultRow]:
    """Measure the memory of all processes of a board started by `mc serve`, and their CPU time in an idle minute."""
    with create_installation() as instance:
        parent = instance.serve_all()
        time.sleep(SETTLE_SECONDS)
        start_time = measure_cpu_seconds(parent.pid)
        time.sleep(IDLE_SECONDS)
        cpu_time = measure_cpu_seconds(parent.pid) - start_time
        processes = list_process_tree(parent.pid)
        shares = {pid: measure_megabytes(pid) for pid in processes}
        note = ", ".join(f"{_read_name(pid)} {shares[pid]:.0f}" for pid in processes if shares[pid])
        yield ResultRow("memory at rest, all processes", sum(shares.values()), "MB", f"PSS: {note}")
        yield ResultRow(
            "CPU of an idle minute", 100 * cpu_time / IDLE_SECONDS, "%", "of one core, ended children included"
        )


def list_process_tree(pid: int) -> list[int]:
    """List a process and all its live descendants."""
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(descendant for child in children for descendant in list_process_tree(child))]


def measure_megabytes(pid: int) -> float:
    """Measure the memory of a process, with shared memory divided among its users."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) / 1024
    return 0.0


def measure_cpu_seconds(pid: int) -> float:
    """Measure the CPU time of a process tree so far, including children that were reaped."""
    return sum(_read_ticks(process_id) for process_id in list_process_tree(pid)) / TICKS


def _read_ticks(pid: int) -> int:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0


def _read_name(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return next((Path(word).name for word in words[1:] if word and not word.startswith("-")), Path(words[0]).name)
    return "?"
