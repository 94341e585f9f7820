"""A pytest plugin that measures the CPU and wall time of each test with its processes, and prints the slowest tests.

`bin/test --slowest` loads it. CPU time is user and system time of this process, of its reaped children, of its live
descendants, and of daemons that descendants left behind (tmux, PostgreSQL), which have a marker in their environment, or
this process's temporary folder in their environment or arguments.
A daemon that starts and ends within one phase of a test is not counted. The times are in pytest's cache as `timing/tests`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

MARK = "MC_TEST_TIMING"
PROPERTY = "cpu"
TOP_FILES = 25
TOP_TESTS = 40
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    started: int
    cpu: float
    """CPU seconds, including those of its reaped children."""


@dataclass
class Cost:
    cpu: float = 0.0
    wall: float = 0.0

    def add(self, cpu: float, wall: float) -> None:
        self.cpu += cpu
        self.wall += wall


def read_process(pid: int) -> Process | None:
    """Read the statistics of a process from `/proc`, or return None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), int(fields[19]), sum(map(int, fields[11:15])) / TICKS)


def list_processes() -> dict[int, Process]:
    read = (read_process(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {process.pid: process for process in read if process}


def sum_tree(root: int, children: dict[int, list[Process]]) -> tuple[float, set[int]]:
    """Return the CPU seconds of all descendants, and their process ids."""
    cpu, members, queue = 0.0, {root}, [root]
    while queue:
        for child in children[queue.pop()]:
            cpu += child.cpu
            members.add(child.pid)
            queue.append(child.pid)
    return cpu, members


class Meter:
    """Meter of the CPU seconds used by this process and everything started by it."""

    def __init__(self, folder: Path) -> None:
        self._marks = (f"{MARK}={os.getpid()}\0".encode(), str(folder).encode())
        self._marked: dict[tuple[int, int], bool] = {}
        self._daemons: dict[tuple[int, int], float] = {}
        self._last = 0.0

    def read_increase(self) -> float:
        """Return the seconds used since the last call."""
        total = self._read_total()
        increase, self._last = total - self._last, total
        return max(0.0, increase)

    def _read_total(self) -> float:
        processes = list_processes()
        children: dict[int, list[Process]] = defaultdict(list)
        for process in processes.values():
            children[process.parent].append(process)
        cpu, members = sum_tree(os.getpid(), children)
        for process in processes.values():
            if process.pid not in members and self._is_daemon_root(process, processes):
                below, _ = sum_tree(process.pid, children)
                self._daemons[process.pid, process.started] = process.cpu + below
        return sum(os.times()[:4]) + cpu + sum(self._daemons.values())

    def _is_daemon_root(self, process: Process, processes: dict[int, Process]) -> bool:
        parent = processes.get(process.parent)
        return self._is_marked(process) and not (parent and self._is_marked(parent))

    def _is_marked(self, process: Process) -> bool:
        key = process.pid, process.started
        if key not in self._marked:
            words = _read_words(process.pid)
            self._marked[key] = any(mark in words for mark in self._marks)
        return self._marked[key]


def _read_words(pid: int) -> bytes:
    """Read the environment and the arguments of a process."""
    try:
        return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
    except OSError:
        return b""


class Timing:
    """Plugin that adds the CPU time to each report, and collects it where reports arrive (in xdist's controller)."""

    def __init__(self, folder: Path) -> None:
        self._meter = Meter(folder)
        self.tests: dict[str, Cost] = defaultdict(Cost)

    def pytest_runtest_logstart(self) -> None:
        self._meter.read_increase()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        report.user_properties.append((PROPERTY, self._meter.read_increase()))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == PROPERTY:
                assert isinstance(value, float)
                self.tests[report.nodeid].add(value, report.duration)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        config.cache.set("timing/tests", {name: [cost.cpu, cost.wall] for name, cost in self.tests.items()})
        for title, costs in self._tables():
            terminalreporter.section(title)
            for name, cost in costs:
                terminalreporter.write_line(f"{cost.cpu:8.1f} {cost.wall:8.1f}  {name}")

    def _tables(self) -> Iterable[tuple[str, list[tuple[str, Cost]]]]:
        yield "folders: CPU s, wall s", self._rank(_folder_of)
        yield f"{TOP_FILES} dearest files: CPU s, wall s", self._rank(_file_of)[:TOP_FILES]
        yield f"{TOP_TESTS} dearest tests: CPU s, wall s", self._rank(str)[:TOP_TESTS]

    def _rank(self, group_of: Callable[[str], str]) -> list[tuple[str, Cost]]:
        groups: dict[str, Cost] = defaultdict(Cost)
        for name, cost in self.tests.items():
            groups[group_of(name)].add(cost.cpu, cost.wall)
        return sorted(groups.items(), key=lambda group: -group[1].cpu)


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def _folder_of(test: str) -> str:
    return str(Path(_file_of(test)).parent)


def pytest_sessionstart(session: pytest.Session) -> None:
    os.environ[MARK] = str(os.getpid())
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    session.config.pluginmanager.register(Timing(factory.getbasetemp()), "timing")
