"""Observe the board and report what needs attention. It moves no ticket and changes no task.

Without an option, every 30 minutes:
1. Observe health and outcome of every loop, stuck and ageing tickets, questions without an answer, blocked tickets that
   nobody owns, failures in a row, capacity, agents that are not logged in, and the repositories of projects.
2. Raise or refresh an incident for each, file one inbox item for as long as it lasts, and close what is gone.

`--follow-up`, every ten minutes:
3. Comment on tickets past their expected check-in, once for each check-in, and raise an incident when nobody reacts.

Then print one JSON line, and record it in `task_runs` with an outcome and a heartbeat.
"""

from __future__ import annotations

import sys

import bootstrap

with bootstrap.quick_imports():
    from jobs import timer_program
    from jobs.loops import follow_up, operator_pass


def main(argv: list[str]) -> int:
    """Return 0 when the observations were made, whatever they found, 1 for a failure, 2 when it could not start."""
    parser = timer_program.build_parser("mc_operator.py", "Observe the board and report what needs attention.")
    parser.add_argument("--follow-up", action="store_true", help="only comment on missed check-ins, and escalate them")
    options = parser.parse_args(argv)
    return timer_program.run_job(options.trigger, (follow_up if options.follow_up else operator_pass).run_pass)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
