"""Probe the agent programs of this machine, and the folders and clone URLs that people want as projects.

1. Probe every known program: installed, version, log-in, what to do. Replace the stored results.
2. Inspect or clone what people have requested on the settings page.
3. Print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.
"""

from __future__ import annotations

import sys

import bootstrap

with bootstrap.quick_imports():
    from jobs import program_probes, timer_program


def main(argv: list[str]) -> int:
    """Return 0 when the probes ran, 1 for a failure, 2 when it could not start."""
    parser = timer_program.build_parser("mc_probe.py", "Probe the programs of this machine.")
    return timer_program.run_job(parser.parse_args(argv).trigger, program_probes.run_pass)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
