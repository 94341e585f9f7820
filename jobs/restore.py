"""Restore the store from a backup. The replaced store is saved.

1. Refuse while a program has the store open or an agent works, as their later writes would be lost.
2. Copy the backup through SQLite, verify the copy and upgrade it to the present schema.
3. Advance its sequences, so that no number of a ticket, run or event is reused. Browsers reload their pages.
4. Save the present store in `backups/`, and move the copy into its place atomically: there is always a store.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

import migrations
from database import open_engine, reading, writing
from models import now
from settings import Settings
from store_files import BackupFailed, advance_sequences, backup_database, read_sequences
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor
from workers.host import processes
from workers.run import lock

from . import single_flight

FILE_SUFFIXES = ("", "-wal", "-shm")
"""The suffixes of a SQLite store's files."""


class RestoreError(Exception):
    """The store is unchanged. The message gives the reason and what to do."""


def restore_backup(settings: Settings, source: Path, actor: Actor) -> Path | None:
    """Restore the store from `source`. Returns where the replaced one is saved, None when there was none.

    Raises `RestoreError`.
    """
    store_path = _find_store_path(settings)
    try:
        with single_flight.hold_file(settings.run_dir / "restore.lock", f"process {os.getpid()}"):
            return _replace_store(settings, store_path, source, actor)
    except single_flight.AlreadyRunning as holder:
        raise RestoreError(f"Another copy is being restored just now ({holder}): wait for it.") from None


def _replace_store(settings: Settings, store_path: Path, source: Path, actor: Actor) -> Path | None:
    _require_unused(settings, store_path)
    new_store = store_path.with_name(f"{store_path.name}.restored")
    if new_store.exists() and source.samefile(new_store):
        raise RestoreError(f"{source} was left by a restore that was cut off: give it another name, and restore that.")
    _remove_files(new_store)  # the write-ahead log of a killed restore must not be applied to this copy
    try:
        _copy_backup(settings, source, new_store)
        _prepare_copy(settings, store_path, new_store, actor)
        return _swap_files(settings, store_path, new_store)
    finally:
        _remove_files(new_store)


def _remove_files(store: Path) -> None:
    for suffix in (*FILE_SUFFIXES, "-writers"):
        _add_suffix(store, suffix).unlink(missing_ok=True)


def _find_store_path(settings: Settings) -> Path:
    if not settings.database_url.startswith("sqlite:///"):
        raise RestoreError("A PostgreSQL store is restored with its own tools, pg_restore or psql.")
    return Path(settings.database_url.removeprefix("sqlite:///")).resolve()  # as other programs' open files are named


def _require_unused(settings: Settings, store_path: Path) -> None:
    if users := processes.find_by_open_files(_add_suffix(store_path, suffix) for suffix in FILE_SUFFIXES):
        pids = ", ".join(str(process.pid) for process in users)
        raise RestoreError(f"Programs have the store open (processes {pids}): stop Mission Control first.")
    runs = [entry for entry in settings.runs_dir.iterdir() if entry.name.isdigit()]
    if busy_runs := sorted((entry.name for entry in runs if lock.is_held(entry)), key=int):
        server = f"TMUX_TMPDIR={settings.sockets_dir} tmux -L mc-{settings.instance} kill-server"
        raise RestoreError(
            f"Agents are at work (runs {', '.join(busy_runs)}): wait for them, or end them with {server}"
        )


def _copy_backup(settings: Settings, source: Path, new_store: Path) -> None:
    engine = open_engine(f"sqlite:///{source}")
    try:
        if migrations.read_revision(engine) is None:
            raise RestoreError(f"{source} is not a backup of Mission Control's store.")
        backup_database(engine, new_store)
    except (DatabaseError, BackupFailed) as error:
        raise RestoreError(f"{source} cannot be copied: {str(error).splitlines()[0]}") from error
    finally:
        engine.dispose()
    try:
        migrations.upgrade_store(f"sqlite:///{new_store}", settings.home)
    except (migrations.StoreTooNew, migrations.ForeignKeyViolation) as error:
        raise RestoreError(f"{source}: {error}") from error


def _prepare_copy(settings: Settings, store_path: Path, new_store: Path, actor: Actor) -> None:
    """Prepare the copy: no number issued since it was made is issued again, and open pages notice the change."""
    sequences = _read_sequences(store_path)
    folders = (int(entry.name) for entry in settings.runs_dir.iterdir() if entry.name.isdigit())
    sequences["runs"] = max([sequences.get("runs", 0), *folders])
    engine = open_engine(f"sqlite:///{new_store}")
    try:
        with writing(engine) as session:
            advance_sequences(session, sequences)
            runtime_flags.set_flag(session, runtime_flags.EPOCH, secrets.token_hex(4), actor)
    finally:
        engine.dispose()


def _read_sequences(store_path: Path) -> dict[str, int]:
    """Read the last numbers of the replaced store, as far as it is readable."""
    if not store_path.exists():
        return {}
    engine: Engine = open_engine(f"sqlite:///{store_path}")
    try:
        with suppress(DatabaseError), reading(engine) as session:
            return read_sequences(session)
        return {}
    finally:
        engine.dispose()


def _swap_files(settings: Settings, store_path: Path, new_store: Path) -> Path | None:
    backup = settings.backups_dir / f"replaced-{now():%Y%m%dT%H%M%S%fZ}.db"
    suffixes = [suffix for suffix in FILE_SUFFIXES if _add_suffix(store_path, suffix).exists()]
    try:
        for suffix in reversed(suffixes):  # the store itself last, so that a file with its name is complete
            _copy_file(_add_suffix(store_path, suffix), _add_suffix(backup, suffix))
    except OSError:
        for suffix in FILE_SUFFIXES:
            _add_suffix(backup, suffix).unlink(missing_ok=True)
        raise
    _sync_path(settings.backups_dir)
    for suffix in FILE_SUFFIXES[1:]:  # the log of a broken or missing store must not be applied to the copy
        _add_suffix(store_path, suffix).unlink(missing_ok=True)
    new_store.replace(store_path)
    _sync_path(store_path.parent)
    return backup if "" in suffixes else None


def _copy_file(file: Path, target: Path) -> None:
    partial_copy = target.with_name(f"{target.name}.part")
    try:
        shutil.copy(file, partial_copy)
        _sync_path(partial_copy)
        partial_copy.replace(target)
    finally:
        partial_copy.unlink(missing_ok=True)


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _add_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
