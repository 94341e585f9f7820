"""The start of a run: its directory, its wrapper in tmux, and the proof when a start failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import failpoints
from workers.contract import spec as specs
from workers.contract.spec import PROMPT, RunSpec
from workers.host import files
from workers.host.private_dirs import make_private_dir
from workers.host.tmux import Tmux, TmuxError
from workers.repository import isolation

from .lock import REVOKED_FILE, LockHeld, hold_lock, was_started

ROOT = Path(__file__).resolve().parents[2]


class NotStarted(Exception):
    """The run's wrapper was not started and never will be, so the ticket may be released."""


def write_run_dir(run_dir: Path, spec: RunSpec, prompt: str) -> None:
    """Make the run directory (0700) with `prompt.md` and `spec.json` (0600). FileExistsError when it has them."""
    make_private_dir(run_dir)
    files.create(run_dir / PROMPT, prompt.encode())
    specs.write_spec(run_dir, spec)


def start_wrapper(tmux: Tmux, run_dir: Path, spec: RunSpec, prefix: Sequence[str] = ()) -> str | None:
    """Start the wrapper in a session `mc-<identifier>` and return the pane's id.

    None when the wrapper runs but tmux did not report the pane. `prefix` is a command line before the wrapper's own,
    such as `systemd-run --scope`. Raises `NotStarted` only when it is proven that nothing runs; the run is revoked
    then.
    """
    name, _, value = spec.marker.partition("=")
    argv = [*prefix, sys.executable, "-m", "workers.run.wrapper", str(run_dir)]
    try:
        return tmux.new_session(
            f"mc-{spec.identifier}",
            argv,
            cwd=ROOT,
            env={**isolation.select_configuration_variables(), **failpoints.select_variables(), name: value},
        )
    except TmuxError as error:
        if revoke_run(run_dir) and not was_started(run_dir):
            raise NotStarted(str(error)) from error
        return None


def revoke_run(run_dir: Path) -> bool:
    """Forbid the run to start, permanently. False when its wrapper is alive, and then nothing is changed."""
    try:
        with hold_lock(run_dir):
            (run_dir / REVOKED_FILE).touch(mode=0o600)
    except LockHeld:
        return False
    return True
