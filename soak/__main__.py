"""`python -m soak [MINUTES]`: run a soak, or break what the options name, and write a report."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models import now

from . import break_each, day, endurance, faults_host, fleet, scenarios
from .faults import FAULTS

REPORTS = Path(__file__).with_name("reports")


def main(argv: list[str]) -> int:
    """Run what the options name. Returns 0 when everything was as expected, else 1."""
    parser = _build_parser()
    options = parser.parse_args(argv)
    unknown = set(options.only) - {fault.name for fault in FAULTS}
    if unknown:
        parser.error(f"there is no fault named {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    seed = random.randrange(1 << 32) if options.seed is None else options.seed  # noqa: S311 - a schedule, no secret
    folder = options.output or REPORTS / f"{now():%Y%m%d-%H%M%S}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}; the report will be in {folder}", flush=True)
    command = shlex.join(["bin/soak", *argv, *([] if "--seed" in argv else ["--seed", str(seed)])])
    if options.break_each:
        report = break_each.break_each(seed, options.pairs, options.quiet * 60, options.only, folder)
        return _write_report(folder, command, break_each.format_report(report), report.to_json())
    if options.hosts:
        return _write_report(folder, command, *_break_hosts())
    if options.fleet:
        return _write_report(folder, command, *_run_fleet(seed, options.fleet))
    if options.day:
        return _write_report(folder, command, *_play_day(folder))
    result = endurance.run_soak(seed, options.minutes * 60, folder)
    return _write_report(folder, command, endurance.format_result(result), result.to_json())


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/soak", description="Work on a real board while it is being broken.")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0, help="minutes of the soak, 10 by default")
    parser.add_argument("--seed", type=int, help="repeat the schedule, or the pairs, of this seed")
    parser.add_argument("--output", type=Path, help="folder for the report, by default one in soak/reports/")
    parser.add_argument("--break-each", action="store_true", help="break each part and compare the cause that is named")
    parser.add_argument(
        "--hosts", action="store_true", help="break the host around a board: lock, clock, git, read-only home"
    )
    parser.add_argument("--fleet", type=int, metavar="ROUNDS", help="break two hosts that share one PostgreSQL")
    parser.add_argument("--day", action="store_true", help="play the scenario files of a simulated day")
    parser.add_argument("--only", nargs="*", default=[], metavar="FAULT", help="break these parts only")
    parser.add_argument("--pairs", type=int, default=break_each.PAIRS, help="pairs of parts to break, 20 by default")
    parser.add_argument("--quiet", type=float, default=0.0, metavar="MINUTES", help="watch the verdict with no fault")
    return parser


def _break_hosts() -> tuple[list[str], dict[str, Any]]:
    results = [step() for step in faults_host.STEPS]
    lines = [f"{result.name}: {'; '.join(result.problems) or 'right'}, {result.figures}" for result in results]
    return lines, {
        "passed": not any(result.problems for result in results),
        "steps": [asdict(result) for result in results],
    }


def _run_fleet(seed: int, rounds: int) -> tuple[list[str], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        result = fleet.run_fleet(seed, rounds, Path(folder))
    faults = ", ".join(f"{name} {count} times" for name, count in sorted(result.faults.items()))
    lines = [f"{result.tickets} tickets while {faults}", *(result.contradictions or ["nothing lost or doubled"])]
    return lines, {"passed": result.has_passed, **asdict(result)}


def _play_day(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Play the day. What its loops print goes to a log beside the report."""
    with (folder / "loops.log").open("w") as log, contextlib.redirect_stdout(log):
        result = day.play_day(scenarios.load_scenarios())
    return result.format(), result.to_json()


def _write_report(folder: Path, command: str, lines: Sequence[str], report: dict[str, Any]) -> int:
    text = "\n".join([command, *lines])
    (folder / "report.txt").write_text(text + "\n")
    (folder / "report.json").write_text(json.dumps({"command": command, **report}, indent=2, default=str))
    print(text)
    return int(not report["passed"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
