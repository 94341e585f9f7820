"""Single flight: one pass at a time per host (a file lock, freed with its process) and, with a shared store, on all hosts."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.orm import Session

from database import writing
from tickets.shared import runtime_flags

from .host_state import ObservationError
from .job_context import JobContext

LEASE_SECONDS = 300
NAME_SECONDS = 3600
"""How long the name of a machine stays taken after its last pass."""
MACHINE_LEASE = "machine:{}"
MACHINE_ID = Path("/etc/machine-id")


class AlreadyRunning(Exception):
    """Another process runs the pass. The message says which."""


@contextmanager
def hold_lease(context: JobContext, name: str) -> Iterator[None]:
    """Hold the lease `name` for the length of the block. `AlreadyRunning` at once when it is taken.

    The lease belongs to the machine: its file lock proves that an earlier holder on it is dead. Raises
    `ObservationError` when another home uses the machine's name, since each would settle the other's runs.
    """
    with hold_host_lock(context, name):
        if context.engine.dialect.name == "sqlite":
            yield
            return
        with writing(context.engine) as session:
            home = runtime_flags.take_lease(
                session, MACHINE_LEASE.format(context.host), _identify_home(context), NAME_SECONDS
            )
            holder = None if home else runtime_flags.take_lease(session, name, context.host, LEASE_SECONDS)
        if home:
            raise ObservationError(
                f"another home folder uses the machine name {context.host} with this store, and no host settles the runs of"
                f" another: set another machine_name in {context.settings.config_file}"
            )
        if holder:
            raise AlreadyRunning(holder)
        try:
            yield
        finally:
            with writing(context.engine) as session:
                runtime_flags.end_lease(session, name, context.host)


def is_at_work(session: Session, host: str) -> bool:
    """Return whether a host of a shared store has made a pass within `NAME_SECONDS`."""
    return runtime_flags.is_leased(session, MACHINE_LEASE.format(host))


def _identify_home(context: JobContext) -> str:
    """Identify the home folder among those of all machines, the same after a reboot."""
    machine_id = ""
    with suppress(OSError):
        machine_id = MACHINE_ID.read_text("utf-8").strip()
    return f"{context.settings.instance}@{machine_id}"


@contextmanager
def hold_host_lock(context: JobContext, name: str) -> Iterator[None]:
    """Hold the lock `name` among the programs of this machine only."""
    with hold_file(context.settings.run_dir / f"{name}.lock", f"{context.host} pid {os.getpid()}"):
        yield


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
