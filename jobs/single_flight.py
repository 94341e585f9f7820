"""Single flight: one pass at a time on a host (a file lock, gone with its holder) and, with a shared store, between hosts."""

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


class Held(Exception):
    """Somebody else is at it; the message says who."""


@contextmanager
def alone(bench: JobContext, name: str) -> Iterator[None]:
    """Hold `name` for the length of the block; raises `Held` at once."""
    who = _me(bench)
    with alone_here(bench, name):
        if bench.engine.dialect.name == "sqlite":
            yield
            return
        with writing(bench.engine) as session:
            holder = runtime_flags.lease(session, name, who, LEASE_SECONDS)
        if holder:
            raise Held(holder)
        try:
            yield
        finally:
            with writing(bench.engine) as session:
                runtime_flags.end_lease(session, name, who)


@contextmanager
def alone_here(bench: JobContext, name: str) -> Iterator[None]:
    """As `alone`, among the programs of this machine only."""
    with hold(bench.settings.run_dir / f"{name}.lock", _me(bench)):
        yield


def _me(bench: JobContext) -> str:
    return f"{bench.host} pid {os.getpid()}"


@contextmanager
def hold(path: Path, who: str) -> Iterator[None]:
    """Hold a file that names its holder; raises `Held` at once."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Held(path.read_text("utf-8", "replace").strip() or "another program of this machine") from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, who.encode(), 0)
        yield
    finally:
        os.close(handle)
