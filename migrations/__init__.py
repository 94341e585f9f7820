"""Schema migrations of the store: under an exclusive lock, after a verified backup, checked before commit.

Every program that a timer starts checks whether the store is up to date, and few migrate it. Alembic, which takes a
tenth of such a program's start time, is loaded only by those. A revision is the number at the start of a file's name.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, inspect, text

from database import open_engine
from models import now
from store_files import backup_database

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


class ForeignKeyViolation(RuntimeError):
    """A migration would leave rows with broken foreign keys. Nothing was changed."""


class StoreTooNew(RuntimeError):
    """The store was migrated by a newer version of Mission Control. Use that version, or restore an older backup."""


class StoreEmpty(RuntimeError):
    """The SQLite store is new or empty, but its home has runs or backups of an earlier one. No table was made."""


def build_config(connection: Any = None) -> Config:
    from alembic.config import Config

    alembic_config = Config()
    alembic_config.set_main_option("script_location", str(HERE))
    alembic_config.attributes["connection"] = connection
    return alembic_config


def find_newest() -> str:
    """Return the newest revision, which this code needs."""
    return max(_list_revisions())


def read_revision(engine: Engine) -> str | None:
    """Read the revision of the store, or None before its first migration."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def explain_mismatch(engine: Engine) -> str | None:
    """Explain why this code cannot use the store and what to do, or return None when it can."""
    revision = read_revision(engine)
    if revision == find_newest():
        return None
    if revision is not None and revision not in _list_revisions():
        return str(StoreTooNew.__doc__)
    return "The store has the schema of an older version. Run bin/mc db upgrade"


def _list_revisions() -> set[str]:
    return {file.name.partition("_")[0] for file in (HERE / "versions").glob("[0-9]*_*.py")}


def upgrade_store(url: str, home: Path) -> bool:
    """Migrate the store at `url` to the newest revision, and return False when it was up to date.

    A populated SQLite store is first backed up to `home/backups/`. Raises `ForeignKeyViolation` or `StoreTooNew`, with
    nothing changed; `StoreEmpty` instead of an empty board in a home that had a store.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "migrate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = open_engine(url)
        try:
            return _upgrade(engine, home)
        finally:
            engine.dispose()


def _upgrade(engine: Engine, home: Path) -> bool:
    before = read_revision(engine)
    if before == find_newest():
        return False
    if before is not None and before not in _list_revisions():
        raise StoreTooNew(StoreTooNew.__doc__)
    if before is None and engine.dialect.name == "sqlite":
        _require_new_home(home)
    elif engine.dialect.name == "sqlite":
        backups = home / "backups"
        backups.mkdir(exist_ok=True, mode=0o700)
        backup_database(engine, backups / f"before-{find_newest()}-{now():%Y%m%dT%H%M%SZ}.db")
    with engine.connect() as connection:
        _run_upgrade(connection)
    return True


def _require_new_home(home: Path) -> None:
    """Raise `StoreEmpty` when the home has files of an earlier store: an empty board would hide that it was lost."""
    run_count = sum(entry.name.isdigit() for entry in (home / "runs").glob("*"))
    backups = sorted((home / "backups").glob("*.db"), key=lambda file: file.stat().st_mtime)
    if not run_count and not backups:
        return
    remedy = f"Restore the newest backup: bin/mc restore {backups[-1]}" if backups else "It has no backup."
    raise StoreEmpty(
        f"The store in {home} is empty, but this home has the files of {run_count} runs and {len(backups)} backups of an"
        f" earlier one. {remedy} To begin an empty board, choose another MC_HOME, or move runs/ and backups/ away."
    )


def _run_upgrade(connection: Any) -> None:
    """Run the migrations in one transaction.

    SQLite's foreign keys are off from before BEGIN, as a batch rewrite would otherwise delete child rows, and are checked
    before the commit.
    """
    from alembic import command

    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")
    try:
        connection.execution_options(mc_writing=True)
        with connection.begin():
            if not sqlite:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            command.upgrade(build_config(connection), "head")
            broken = connection.execute(text("PRAGMA foreign_key_check")).all() if sqlite else []
            if broken:
                raise ForeignKeyViolation(
                    f"the migration would leave {len(broken)} rows with broken foreign keys: {broken[:3]}"
                )
    finally:
        if sqlite:
            connection.connection.driver_connection.execute("PRAGMA foreign_keys=ON")
