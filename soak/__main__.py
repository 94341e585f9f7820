"""`python -m soak [MINUTES]`: run a soak, or break each part of a board with `--break-each`, and write a report."""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
from pathlib import Path

from models import now

from . import endurance

REPORTS = Path(__file__).with_name("reports")


def main(argv: list[str]) -> int:
    """Run what the options name. Returns 0 when everything was as expected, else 1."""
    parser = argparse.ArgumentParser(prog="bin/soak", description="Work on a real board while it is being broken.")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0, help="minutes of the soak, 10 by default")
    parser.add_argument("--seed", type=int, help="repeat the schedule of this seed")
    parser.add_argument("--output", type=Path, help="folder for the report, by default one in soak/reports/")
    options = parser.parse_args(argv)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed  # noqa: S311 - a schedule, no secret
    folder = options.output or REPORTS / f"{now():%Y%m%d-%H%M%S}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}; the report will be in {folder}", flush=True)
    result = endurance.run_soak(seed, options.minutes * 60, folder)
    command = shlex.join(["bin/soak", f"{options.minutes:g}", "--seed", str(seed)])
    text = "\n".join([command, *endurance.format_result(result)])
    (folder / "report.txt").write_text(text + "\n")
    (folder / "report.json").write_text(json.dumps({"command": command, **result.to_json()}, indent=2, default=str))
    print(text)
    return int(not result.has_passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
