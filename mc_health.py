"""Check the health of this host and of the store once, for an installation whose timers are systemd's.

1. Evaluate every check; store the results, which all pages and the API show.
2. Open, escalate and close incidents.
3. Print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.
"""

from __future__ import annotations

import sys

import bootstrap

with bootstrap.quick_imports():
    from jobs import timer_program
    from jobs.health import look


def main(argv: list[str]) -> int:
    """Return 0 when the checks were made, whatever they found, 1 for a failure, 2 when it could not start."""
    parser = timer_program.build_parser("mc_health.py", "Check the health of Mission Control.")
    return timer_program.run_job(parser.parse_args(argv).trigger, look.run_pass)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
