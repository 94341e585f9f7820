"""Bringing a store to the present schema: under an exclusive lock, after a verified backup, checked before commit.

Every program that a timer starts asks whether the store is up to date, and few bring it there: alembic, which takes a tenth
of such a program's start, is loaded only by those. A revision is the number at the beginning of its file's name.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, inspect, text

from database import backup_database, open_engine
from models import now

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


class ForeignKeyViolation(RuntimeError):
    """A migration would leave rows that point nowhere; nothing was changed."""


class StoreTooNew(RuntimeError):
    """The store was brought up to date by a newer version of Mission Control: use that, or restore an older copy."""


def build_config(connection: Any = None) -> Config:
    from alembic.config import Config

    alembic_config = Config()
    alembic_config.set_main_option("script_location", str(HERE))
    alembic_config.attributes["connection"] = connection
    return alembic_config


def find_newest() -> str:
    """The revision that this code needs."""
    return max(_list_revisions())


def read_revision(engine: Engine) -> str | None:
    """The revision of the store; None before its first."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def explain_mismatch(engine: Engine) -> str | None:
    """Why this code cannot work with the store as it is, and what to do; None where it can."""
    revision = read_revision(engine)
    if revision == find_newest():
        return None
    if revision is not None and revision not in _list_revisions():
        return str(StoreTooNew.__doc__)
    return "The store has the schema of an older version: run bin/mc db upgrade"


def _list_revisions() -> set[str]:
    return {file.name.partition("_")[0] for file in (HERE / "versions").glob("[0-9]*_*.py")}


def upgrade_store(url: str, home: Path) -> bool:
    """Bring the store at `url` to the newest revision; False when it was there already.

    A populated SQLite store is first backed up to `home/backups/`. Raises `ForeignKeyViolation` or `StoreTooNew`, with
    nothing changed.
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
    if before is not None and engine.dialect.name == "sqlite":
        backups = home / "backups"
        backups.mkdir(exist_ok=True, mode=0o700)
        backup_database(engine, backups / f"before-{find_newest()}-{now():%Y%m%dT%H%M%SZ}.db")
    with engine.connect() as connection:
        _run_upgrade(connection)
    return True


def _run_upgrade(connection: Any) -> None:
    """On SQLite foreign keys are off from before BEGIN, as a batch rewrite would else delete child rows; checked after."""
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
                    f"the migration would leave {len(broken)} rows that point nowhere: {broken[:3]}"
                )
    finally:
        if sqlite:
            connection.connection.driver_connection.execute("PRAGMA foreign_keys=ON")
