"""A memory limit for each run, through a systemd scope, on machines where a user's systemd gives one."""

from __future__ import annotations

import os
import re
from functools import cache

from . import commands

PROGRAM = "systemd-run"
PROBE_SECONDS = 5.0
MEMORY_PATTERN = re.compile(r"[1-9][0-9]{0,14}[KMGT]?")


def build_prefix(run_id: int, memory_max: str | None) -> list[str]:
    """The words to put before a wrapper's argv: none without a limit or where scopes do not work.

    `memory_max` is bytes, or a number with K, M, G or T. systemd-run replaces itself with the command, so
    that a pane's pid stays the wrapper's.
    """
    if memory_max is None or not is_available():
        return []
    return _build_scope(memory_max, f"Mission Control run {int(run_id)}")


@cache
def is_available() -> bool:
    """Whether a scope with a memory limit can be had; tried once in the life of this program."""
    try:
        return commands.run([*_build_scope("64M", "Mission Control probe"), "true"], timeout=PROBE_SECONDS).code == 0
    except OSError:
        return False


def _build_scope(memory_max: str, description: str) -> list[str]:
    """The user's runtime folder is named outright, since a tmux server's environment does not hold it."""
    if not MEMORY_PATTERN.fullmatch(memory_max):
        raise ValueError(f"not an amount of memory: {memory_max!r}")
    return [
        *("env", f"XDG_RUNTIME_DIR=/run/user/{os.getuid()}", PROGRAM, "--user", "--scope", "--quiet", "--collect"),
        *(f"--description={description}", f"--property=MemoryMax={memory_max}", "--"),
    ]
