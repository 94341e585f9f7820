"""A memory limit for each run, as a systemd scope, on machines whose user systemd supports it."""

from __future__ import annotations

import os
import re
from functools import cache

from . import commands

PROGRAM = "systemd-run"
PROBE_SECONDS = 5.0
MEMORY_PATTERN = re.compile(r"[1-9][0-9]{0,14}[KMGT]?")


def build_prefix(run_id: int, memory_max: str | None) -> list[str]:
    """Build the command line before a wrapper's argv. Empty without a limit or where scopes do not work.

    `memory_max` is bytes, or a number with K, M, G or T. systemd-run replaces itself with the command, so
    that a pane's pid stays the wrapper's.
    """
    if memory_max is None or not is_available():
        return []
    return _build_scope(memory_max, f"Mission Control run {int(run_id)}")


@cache
def is_available() -> bool:
    """Return True when a scope with a memory limit can be started (tried once per process)."""
    try:
        return commands.run([*_build_scope("64M", "Mission Control probe"), "true"], timeout=PROBE_SECONDS).code == 0
    except OSError:
        return False


def _build_scope(memory_max: str, description: str) -> list[str]:
    """Build the systemd-run command line. It sets XDG_RUNTIME_DIR, which a tmux server's environment lacks."""
    if not MEMORY_PATTERN.fullmatch(memory_max):
        raise ValueError(f"Invalid amount of memory: {memory_max!r}")
    return [
        *("env", f"XDG_RUNTIME_DIR=/run/user/{os.getuid()}", PROGRAM, "--user", "--scope", "--quiet", "--collect"),
        *(f"--description={description}", f"--property=MemoryMax={memory_max}", "--"),
    ]
