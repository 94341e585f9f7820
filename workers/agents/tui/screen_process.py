"""The process of a screen's window: `python -m workers.agents.tui.screen_process <run directory>`.

It starts the agent's program on this terminal with exactly the run's environment and adopts every orphan that the
program leaves behind. Once the program has ended it kills them, records the exit code and ends. Its record is
`screen.json`: {"pid", "exit_code"}, the latter None while the program is alive.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from workers.agents.descriptor import load_descriptor
from workers.contract import spec as specs
from workers.host import files, processes, subreaper

from .screen import build_prompt_argument

RECORD_FILE = "screen.json"
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
IGNORED_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
"""Signals that a terminal sends to the whole foreground group. The program handles them itself."""


def main(argv: list[str]) -> int:
    os.umask(0o077)
    run_dir = Path(argv[0])
    spec = specs.read_spec(run_dir)
    screen = load_descriptor(spec.program).create_screen()
    command = screen.command(spec, run_dir, build_prompt_argument(spec, run_dir))
    subreaper.adopt_orphans()
    for signum in IGNORED_SIGNALS:
        signal.signal(signum, lambda *_: None)  # a handler, not SIG_IGN, which the program would inherit
    pid = os.posix_spawnp(command[0], command, {**spec.environment, **screen.environment(spec)})
    program = processes.identify(pid)
    for signum in FORWARDED_SIGNALS:
        signal.signal(signum, lambda number, _: program and processes.send_signal(program, signal.Signals(number)))
    _write_record(run_dir, pid, None)
    code = _wait_for(pid)
    processes.kill_descendants(os.getpid())
    _write_record(run_dir, pid, code)
    return code


def _wait_for(pid: int) -> int:
    """Wait for the program and return its exit code, 128 + number for a signal. Adopted processes are reaped meanwhile."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _write_record(run_dir: Path, pid: int, exit_code: int | None) -> None:
    files.replace(run_dir / RECORD_FILE, json.dumps({"pid": pid, "exit_code": exit_code}).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
