"""`python -m bench [--list] [NAME...]`: run measurements, print a table, write `bench/results.json`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from models import format_timestamp, now

from . import board, coordination, creation, dispatch, idle, peers, streams, weight
from .rows import Measurement, ResultRow, measure_pace

RESULTS = Path(__file__).with_name("results.json")

MEASUREMENTS: Mapping[str, Measurement] = {
    "first-page": board.measure_first_page,
    "pages": board.measure_pages,
    "very-many": board.measure_many_pages,
    "weight": weight.measure_weight,
    "paint": weight.measure_paint,
    "stream-latency": streams.measure_latency,
    "events": streams.measure_throughput,
    "claim-statements": dispatch.measure_claim_statements,
    "claims": dispatch.measure_claims,
    "creates": creation.measure_creation,
    "pickup": dispatch.measure_pickup,
    "runs": dispatch.measure_run_start,
    "coordination": coordination.measure_server_start,
    "idle": idle.measure_idle_board,
}


def main(argv: list[str]) -> int:
    """Run the measurements. Returns 0 when all succeeded, else 1."""
    parser = argparse.ArgumentParser(prog="bin/bench", description="Measure Mission Control on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; all by default")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="measure beside comparable boards from PyPI, each in an environment of its own",
    )
    parser.add_argument("--list", action="store_true", help="print the names and what they measure")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"there is no measurement named {', '.join(sorted(unknown))}")
    if options.list:
        for name, measure in MEASUREMENTS.items():
            print(f"{name:16}{(measure.__doc__ or '').splitlines()[0]}")
        return 0
    if options.peers:
        return measure_all([peers.measure_peers])
    return measure_all([MEASUREMENTS[name] for name in options.names or MEASUREMENTS])


def measure_all(measurements: Sequence[Measurement]) -> int:
    rows: list[ResultRow] = []
    failed = False
    for measure in measurements:
        try:
            for row in _measure_with_pace(measure):
                print(f"{row.name:56}{row.value:>12,.1f} {row.unit:4} {row.note}", flush=True)
                rows.append(row)
        except Exception:  # a failed measurement must not hide the others
            traceback.print_exc()
            failed = True
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    result = {"at": format_timestamp(now()), **machine, "rows": [asdict(row) for row in rows]}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return int(failed)


def _measure_with_pace(measure: Measurement) -> Iterator[ResultRow]:
    """Yield the measurement between two readings of the machine's pace, which puts it into perspective."""
    yield _build_pace_row()
    yield from measure()
    yield _build_pace_row()


def _build_pace_row() -> ResultRow:
    return ResultRow("pace of this machine", measure_pace() * 1000, "ms", "a fixed piece of Python")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
