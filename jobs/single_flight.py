"""Single flight: one pass at a time per host (a file lock, freed with its process) and, with a shared store, on all hosts."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from database import writing
from tickets.shared import runtime_flags

from .job_context import JobContext

LEASE_SECONDS = 300


class AlreadyRunning(Exception):
    """Another process runs the pass. The message says which."""


@contextmanager
def hold_lease(context: JobContext, name: str) -> Iterator[None]:
    """Hold the lease `name` for the length of the block. `AlreadyRunning` at once when it is taken."""
    owner = _format_owner(context)
    with hold_host_lock(context, name):
        if context.engine.dialect.name == "sqlite":
            yield
            return
        with writing(context.engine) as session:
            holder = runtime_flags.take_lease(session, name, owner, LEASE_SECONDS)
        if holder:
            raise AlreadyRunning(holder)
        try:
            yield
        finally:
            with writing(context.engine) as session:
                runtime_flags.end_lease(session, name, owner)


@contextmanager
def hold_host_lock(context: JobContext, name: str) -> Iterator[None]:
    """Hold the lock `name` among the programs of this machine only."""
    with hold_file(context.settings.run_dir / f"{name}.lock", _format_owner(context)):
        yield


def _format_owner(context: JobContext) -> str:
    return f"{context.host} pid {os.getpid()}"


@contextmanager
def hold_file(path: Path, owner: str) -> Iterator[None]:
    """Lock a file that names its holder. `AlreadyRunning` at once when it is locked."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(
                path.read_text("utf-8", "replace").strip() or "another program of this machine"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, owner.encode(), 0)
        yield
    finally:
        os.close(handle)
