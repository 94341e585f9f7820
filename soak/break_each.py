"""Breaks each part of a live board, alone and in pairs, and measures when its health names the cause."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from database import reading
from models import IncidentState
from tickets.operations import incidents

from .board import Board, open_board
from .faults import EXCLUSIVE, FAULTS, BoardFault, mount_home

TURN_SECONDS = 150.0
"""How long the verdict may take to turn; the promise is 120."""
TURN_PROMISE = 120.0
CLEAR_SECONDS = 420.0
POLL_SECONDS = 1.0
REQUEST_SECONDS = 10.0
PAIRS = 20


@dataclass(frozen=True, slots=True)
class HealthCause:
    """A cause that the board names."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class HealthReading:
    """One answer of the health API. `verdict` is None when the board did not answer."""

    verdict: str | None
    causes: tuple[HealthCause, ...] = ()
    folded: frozenset[str] = frozenset()
    """Checks that are explained by a cause."""


def parse_health(report: dict[str, Any]) -> HealthReading:
    """Parse the report of GET /api/v1/health."""
    causes = report["causes"]
    folded = {str(name) for cause in causes for name in cause["explains"]}
    checks = (cause["check"] for cause in causes)
    causes = tuple(HealthCause(check["name"], check["detail"]) for check in checks)
    return HealthReading(report["verdict"], causes, frozenset(folded))


def read_health(board: Board) -> HealthReading:
    """Read the health of a board."""
    connection = http.client.HTTPConnection("127.0.0.1", board.settings.port, timeout=REQUEST_SECONDS)
    try:
        connection.request("GET", "/api/v1/health", headers={"Authorization": f"Bearer {board.token}"})
        response = connection.getresponse()
        content = response.read()
        return parse_health(json.loads(content)) if response.status == 200 else HealthReading(None)
    except (OSError, http.client.HTTPException, ValueError):
        return HealthReading(None)
    finally:
        connection.close()


def is_named(fault: BoardFault, reading: HealthReading) -> bool:
    """Return whether a reading names the fault: as a cause, or folded under another one."""
    if fault.check is None:
        return reading.verdict is None
    is_a_cause = any(cause.name == fault.check and fault.fragment in cause.detail for cause in reading.causes)
    return reading.verdict != "working" and (is_a_cause or fault.check in reading.folded)


def find_wrong_causes(faults: Iterable[BoardFault], reading: HealthReading) -> list[HealthCause]:
    """Return the causes of a reading that belong to none of the faults."""
    expected = {fault.check for fault in faults}
    return [cause for cause in reading.causes if cause.name not in expected]


@dataclass(slots=True)
class BreakResult:
    """The measurement of one fault or pair. Seconds are None when it did not come within the time."""

    names: tuple[str, ...]
    turned: dict[str, float | None] = field(default_factory=dict)
    cleared: float | None = None
    silent: float = 0.0
    """Seconds in which the board did not answer although it should."""
    wrong_causes: dict[str, str] = field(default_factory=dict)
    """Checks that belong to none of the faults, with when and how each was first named."""
    note: str = ""

    @property
    def is_right(self) -> bool:
        is_early = all(seconds is not None and seconds <= TURN_PROMISE for seconds in self.turned.values())
        return bool(self.note) or (is_early and self.cleared is not None and not self.wrong_causes)


class BreakRun:
    """The measurements on one board."""

    def __init__(self, board: Board, can_mount: bool) -> None:
        self._board = board
        self._can_mount = can_mount

    def measure(self, *faults: BoardFault) -> BreakResult:
        """Break the parts together, wait for the verdict, mend them and wait until it is clear."""
        result = BreakResult(tuple(fault.name for fault in faults))
        if any(fault.needs_mount for fault in faults) and not self._can_mount:
            result.note = "not measured: file systems cannot be mounted here"
            return result
        start = time.monotonic()
        if self._wait_until_working() is None:
            self._note(result, (), read_health(self._board), start)
            return result
        result.turned = dict.fromkeys(result.names)
        start = time.monotonic()
        with ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault.inject(self._board))
            self._watch_turn(result, faults, start)
        self._watch_clearing(result, faults, time.monotonic(), start)
        self._close_incidents()
        return result

    def _close_incidents(self) -> None:
        """Close the incidents that are still open, so that the next fault begins with none."""
        with reading(self._board.engine) as session:
            open_ids = [incident.id for incident in incidents.list_incidents(session, IncidentState.OPEN)]
        for incident_id in open_ids:
            self._board.post(f"/incidents/{incident_id}/close", {"evidence": "The part was mended."}, status=200)

    def _watch_turn(self, result: BreakResult, faults: Sequence[BoardFault], start: float) -> None:
        least = max(fault.seconds for fault in faults)
        for health in self._poll(max(TURN_SECONDS, least)):
            elapsed = time.monotonic() - start
            for fault in faults:
                if result.turned[fault.name] is None and is_named(fault, health):
                    result.turned[fault.name] = round(elapsed, 1)
            self._note(result, faults, health, start)
            if elapsed >= least and None not in result.turned.values():
                return

    def _watch_clearing(self, result: BreakResult, faults: Sequence[BoardFault], mended: float, start: float) -> None:
        for health in self._poll(CLEAR_SECONDS):
            self._note(result, faults, health, start)
            if health.verdict == "working":
                result.cleared = round(time.monotonic() - mended, 1)
                return

    def _note(self, result: BreakResult, faults: Sequence[BoardFault], health: HealthReading, start: float) -> None:
        for cause in find_wrong_causes(faults, health):
            result.wrong_causes.setdefault(cause.name, f"after {time.monotonic() - start:.0f} s: {cause.detail}")
        if health.verdict is None and all(fault.check for fault in faults):
            result.silent += POLL_SECONDS

    def _poll(self, seconds: float) -> Iterator[HealthReading]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield read_health(self._board)
            time.sleep(POLL_SECONDS)

    def _wait_until_working(self) -> HealthReading | None:
        return next((health for health in self._poll(CLEAR_SECONDS) if health.verdict == "working"), None)

    def watch_quiet(self, seconds: float) -> list[str]:
        """Watch the verdict while nothing is broken. Returns each change away from working, with its causes."""
        self._wait_until_working()
        changes: list[str] = []
        last = "working"
        start = time.monotonic()
        for health in self._poll(seconds):
            verdict = health.verdict or "no answer"
            if verdict != last and verdict != "working":
                causes = "; ".join(f"{cause.name}: {cause.detail}" for cause in health.causes)
                changes.append(f"after {time.monotonic() - start:.0f} s {verdict}: {causes}")
            last = verdict
        return changes


@dataclass(slots=True)
class BreakReport:
    """The whole measurement."""

    seed: int
    rows: list[BreakResult] = field(default_factory=list)
    pairs: list[BreakResult] = field(default_factory=list)
    quiet_seconds: float = 0.0
    flickers: list[str] = field(default_factory=list)

    @property
    def has_passed(self) -> bool:
        return all(row.is_right for row in [*self.rows, *self.pairs]) and not self.flickers

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.has_passed}


@contextmanager
def create_breakable_board() -> Iterator[tuple[Board, bool]]:
    """Create a board in a home of its own file system, with programs that can be taken away."""
    with (
        tempfile.TemporaryDirectory(prefix="mc-break-", ignore_cleanup_errors=True) as folder,
        mount_home(Path(folder) / "home") as can_mount,
        open_board(Path(folder), own_programs=True) as board,
    ):
        board.start_board()
        board.work_ticket()
        yield board, can_mount


def draw_pairs(seed: int, count: int, faults: Sequence[BoardFault] = FAULTS) -> list[tuple[BoardFault, BoardFault]]:
    """Draw pairs of faults that can be broken together. The same seed gives the same pairs."""
    draw = random.Random(seed)  # noqa: S311 - a schedule, no secret
    combinable = [fault for fault in faults if fault.combines]
    pairs = [pair for pair in itertools.combinations(combinable, 2) if frozenset(f.name for f in pair) not in EXCLUSIVE]
    return draw.sample(pairs, min(count, len(pairs)))


def break_each(seed: int, pairs: int, quiet_seconds: float, names: Sequence[str], output: Path) -> BreakReport:
    """Measure the faults of these names, or all of them, then the pairs, then the quiet time."""
    report = BreakReport(seed, quiet_seconds=quiet_seconds)
    faults = [fault for fault in FAULTS if not names or fault.name in names]
    with create_breakable_board() as (board, can_mount):
        run = BreakRun(board, can_mount)
        for fault in faults:
            report.rows.append(run.measure(fault))
            print(format_row(report.rows[-1]), flush=True)
        for pair in draw_pairs(seed, pairs):
            report.pairs.append(run.measure(*pair))
            print(format_row(report.pairs[-1]), flush=True)
        report.flickers = run.watch_quiet(quiet_seconds) if quiet_seconds else []
        with suppress(OSError):
            (output / "bench.log").write_bytes((board.settings.logs_dir / "bench.log").read_bytes())
    return report


def format_row(result: BreakResult) -> str:
    """Format a measurement as one line, and one more for each wrong cause."""
    names = " + ".join(result.names)
    if result.note:
        return f"{names:44} {result.note}"
    turn_text = ", ".join("never" if seconds is None else f"{seconds:.0f} s" for seconds in result.turned.values())
    clear_text = "never" if result.cleared is None else f"{result.cleared:.0f} s"
    line = (
        f"{names:44} turned {turn_text or 'never':14} cleared {clear_text:8} {'right' if result.is_right else 'WRONG'}"
    )
    silence_text = f", {result.silent:.0f} s without an answer" if result.silent else ""
    wrong = [f"\n    also named: {name}, {text}" for name, text in result.wrong_causes.items()]
    return line + silence_text + "".join(wrong)


def format_report(report: BreakReport) -> list[str]:
    """Format the whole measurement as lines of text."""
    lines = [f"seed {report.seed}", "", *map(format_row, report.rows)]
    if report.pairs:
        lines += ["", f"{len(report.pairs)} pairs:", *map(format_row, report.pairs)]
    if report.quiet_seconds:
        lines += ["", f"quiet for {report.quiet_seconds:g} s: {len(report.flickers)} changes", *report.flickers]
    wrong = sum(not row.is_right for row in [*report.rows, *report.pairs])
    return [*lines, "", f"{wrong} rows wrong"]
