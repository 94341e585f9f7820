"""Health checks that any process makes for itself, because the store may be why the stored results are old."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from sqlalchemy import Engine

from database import StoreError, StoreUnavailable, writing
from models import HealthStatus
from settings import SettingsError, load
from store_files import find_lock_holder
from tickets.schedule import tasks

from . import home_state
from .health_check import HealthCheck

DISK_WARNING_BYTES = 2 << 30
DISK_FAILURE_BYTES = 256 << 20
PROBE_SECONDS = 1.0
RETRY_SECONDS = 0.1
WRITE_PROBE = "write-probe"
"""Heartbeat that the write probe stores."""


def check_disk(home: Path) -> HealthCheck:
    """Check that the disk of the home folder has room."""
    try:
        free = shutil.disk_usage(home).free
    except OSError as error:
        text = f"The home folder {home} cannot be read: {error.strerror}."
        return HealthCheck("disk", HealthStatus.FAILED, text, "Restore it from a backup.")
    detail = f"{free / (1 << 30):.1f} GB free"
    if free >= DISK_WARNING_BYTES:
        return HealthCheck("disk", HealthStatus.OK, detail)
    status = HealthStatus.FAILED if free < DISK_FAILURE_BYTES else HealthStatus.WARNING
    return HealthCheck("disk", status, f"The disk with {home} is almost full: {detail}.", "Free up some space.")


def check_home(home: Path) -> HealthCheck:
    """Check that files can be written in the home folder."""
    if problem := home_state.describe_read_only_folder(home):
        return HealthCheck("run-folders", HealthStatus.FAILED, *problem)
    return HealthCheck("run-folders", HealthStatus.OK, "the home can be written")


def check_settings(home: Path) -> HealthCheck:
    """Read the settings again, as every program that starts must read them."""
    try:
        load(home=home)
    except SettingsError as error:
        text = f"The settings cannot be read, so no program can start: {'; '.join(error.problems)}"
        return HealthCheck("settings", HealthStatus.FAILED, f"{text.removesuffix('.')}.", "Fix them.")
    return HealthCheck("settings", HealthStatus.OK, "valid")


def probe_write(engine: Engine) -> HealthCheck:
    """Write one row, trying for a second while others write, and name what prevents it."""
    deadline = time.monotonic() + PROBE_SECONDS
    while True:
        try:
            with writing(engine, patient=False) as session:
                tasks.record_heartbeat(session, WRITE_PROBE, HealthStatus.OK)
            return HealthCheck("writes", HealthStatus.OK, "the store is writable")
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                return _report_unwritable(engine, str(error.orig))
        except StoreError as error:
            return report_damage(str(error.orig))
        time.sleep(RETRY_SECONDS)


def _report_unwritable(engine: Engine, reason: str) -> HealthCheck:
    holder = find_lock_holder(engine)
    if holder is not None:
        command, is_suspended = _read_command(holder), _is_suspended(holder)
        state, remedy = ("is suspended and ", f"Let it go on: kill -CONT {holder}.") if is_suspended else ("", "")
        text = f"Process {holder} ({command}) {state}holds the write lock of the store, so nothing can be saved."
        return HealthCheck("writes", HealthStatus.FAILED, text, remedy or f"Wait for it, or stop it: kill {holder}.")
    text = f"The store is not writable, so nothing can be saved: {reason.removesuffix('.')}."
    return HealthCheck(
        "writes", HealthStatus.FAILED, text, "See docs/operations.md, “When the store cannot be written”."
    )


def _read_command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "ended meanwhile"


def _is_suspended(pid: int) -> bool:
    """Return whether a process has been stopped by a signal. False where this cannot be seen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def report_damage(problem: str) -> HealthCheck:
    """Report that the store's file is damaged."""
    text = f"The database is damaged: {problem.removesuffix('.')}."
    return HealthCheck(
        "integrity", HealthStatus.FAILED, text, "Stop Mission Control and restore a backup: bin/mc restore FILE."
    )
