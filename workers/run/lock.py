"""The lock of a run. Its wrapper holds `lock` for its lifetime, and no process may take it once `revoked` exists."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import spool

LOCK_FILE = "lock"
REVOKED_FILE = "revoked"
RETRY_SECONDS = 0.05


class LockHeld(Exception):
    """Another process, usually the run's live wrapper, holds the lock."""


def is_held(run_dir: Path) -> bool:
    """True when a live wrapper holds the run's lock."""
    try:
        with hold_lock(run_dir):
            return False
    except LockHeld:
        return True


def was_started(run_dir: Path) -> bool:
    """True when a wrapper has ever started work on this run."""
    return any(run_dir.glob(f"{Path(spool.CURRENT_FILE).stem}*.jsonl"))


@contextmanager
def hold_lock(run_dir: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the run's lock, close-on-exec. `LockHeld` when another process still has it after `patience` seconds."""
    handle = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    try:
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                raise LockHeld(f"another process holds the lock of {run_dir.name}")
            time.sleep(RETRY_SECONDS)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
