"""Putting a copy of the store in place of the present one, which is kept.

1. Refuse while a program has the store open or an agent works: what they write next would be lost.
2. Copy the copy through SQLite and verify it; bring it to the present schema.
3. Let it give no number again that was given since: of tickets, runs and events. Browsers read their pages anew.
4. Keep the present store in `backups/`, and put the copy into its place in one step: there is always a store.
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
from database import BackupFailed, advance_sequences, backup_database, open_engine, reading, sequence_values, writing
from models import now
from settings import Settings
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor
from workers.host import processes
from workers.run import lock

from . import single_flight

PARTS = ("", "-wal", "-shm")
"""Of a SQLite store: the file and what stands beside it."""


class CannotRestore(Exception):
    """The store is left as it is; the message says why, and what to do."""


def restore(settings: Settings, source: Path, actor: Actor) -> Path | None:
    """Restore the store from `source`; returns where the one that was replaced is kept, None where there was none.

    Raises `CannotRestore`.
    """
    place = _place(settings)
    try:
        with single_flight.hold(settings.run_dir / "restore.lock", f"process {os.getpid()}"):
            return _restore(settings, place, source, actor)
    except single_flight.Held as held:
        raise CannotRestore(f"Another copy is being restored just now ({held}): wait for it.") from None


def _restore(settings: Settings, place: Path, source: Path, actor: Actor) -> Path | None:
    _require_quiet(settings, place)
    fresh = place.with_name(f"{place.name}.restored")
    if fresh.exists() and source.samefile(fresh):
        raise CannotRestore(f"{source} was left by a restore that was cut off: give it another name, and restore that.")
    _clear(fresh)  # one that was killed has left its log, which must not meet this copy
    try:
        _copy(settings, source, fresh)
        _go_on(settings, place, fresh, actor)
        return _put_in_place(settings, place, fresh)
    finally:
        _clear(fresh)


def _clear(store: Path) -> None:
    for part in (*PARTS, "-writers"):
        _beside(store, part).unlink(missing_ok=True)


def _place(settings: Settings) -> Path:
    if not settings.database_url.startswith("sqlite:///"):
        raise CannotRestore("A PostgreSQL store is restored with its own tools, pg_restore or psql.")
    return Path(settings.database_url.removeprefix("sqlite:///")).resolve()  # as other programs' open files are named


def _require_quiet(settings: Settings, place: Path) -> None:
    if users := processes.having_open(_beside(place, part) for part in PARTS):
        pids = ", ".join(str(each.pid) for each in users)
        raise CannotRestore(f"Programs have the store open (processes {pids}): stop Mission Control first.")
    runs = [entry for entry in settings.runs_dir.iterdir() if entry.name.isdigit()]
    if busy := sorted((entry.name for entry in runs if lock.is_held(entry)), key=int):
        server = f"TMUX_TMPDIR={settings.sockets_dir} tmux -L mc-{settings.instance} kill-server"
        raise CannotRestore(f"Agents are at work (runs {', '.join(busy)}): wait for them, or end them with {server}")


def _copy(settings: Settings, source: Path, fresh: Path) -> None:
    engine = open_engine(f"sqlite:///{source}")
    try:
        if migrations.current(engine) is None:
            raise CannotRestore(f"{source} is no copy of a store of Mission Control.")
        backup_database(engine, fresh)
    except (DatabaseError, BackupFailed) as error:
        raise CannotRestore(f"{source} cannot be copied: {str(error).splitlines()[0]}") from error
    finally:
        engine.dispose()
    try:
        migrations.upgrade(f"sqlite:///{fresh}", settings.home)
    except (migrations.StoreTooNew, migrations.ForeignKeyViolation) as error:
        raise CannotRestore(f"{source}: {error}") from error


def _go_on(settings: Settings, place: Path, fresh: Path, actor: Actor) -> None:
    """No number that was given since the copy was made is given again, and no open page goes on as if nothing were."""
    given = _given(place)
    folders = (int(entry.name) for entry in settings.runs_dir.iterdir() if entry.name.isdigit())
    given["runs"] = max([given.get("runs", 0), *folders])
    engine = open_engine(f"sqlite:///{fresh}")
    try:
        with writing(engine) as session:
            advance_sequences(session, given)
            runtime_flags.write(session, runtime_flags.EPOCH, secrets.token_hex(4), actor)
    finally:
        engine.dispose()


def _given(place: Path) -> dict[str, int]:
    """The last numbers of the store that is replaced, as far as it can be read."""
    if not place.exists():
        return {}
    engine: Engine = open_engine(f"sqlite:///{place}")
    try:
        with suppress(DatabaseError), reading(engine) as session:
            return sequence_values(session)
        return {}
    finally:
        engine.dispose()


def _put_in_place(settings: Settings, place: Path, fresh: Path) -> Path | None:
    kept = settings.backups_dir / f"replaced-{now():%Y%m%dT%H%M%S%fZ}.db"
    parts = [part for part in PARTS if _beside(place, part).exists()]
    try:
        for part in reversed(parts):  # the store itself last: what has its name is whole
            _keep(_beside(place, part), _beside(kept, part))
    except OSError:
        for part in PARTS:
            _beside(kept, part).unlink(missing_ok=True)
        raise
    _sync(settings.backups_dir)
    for part in PARTS[1:]:  # left by a store that is broken or away: it must not meet the copy
        _beside(place, part).unlink(missing_ok=True)
    fresh.replace(place)
    _sync(place.parent)
    return kept if "" in parts else None


def _keep(file: Path, kept: Path) -> None:
    part = kept.with_name(f"{kept.name}.part")
    try:
        shutil.copy(file, part)
        _sync(part)
        part.replace(kept)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path, part: str) -> Path:
    return path.with_name(path.name + part)
