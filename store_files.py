"""The files of the store: lock holder, integrity, sizes, sequences and backup, which differ between the two databases."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pysqlite3
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

WAL_WRITE_LOCK = 120
"""Byte of the `-shm` file that the writer of a SQLite store locks (SQLite, "WAL-mode File Format", 2.3.1)."""


def find_lock_holder(engine: Engine) -> int | None:
    """Find the process id of the holder of a SQLite store's write lock. None when it is free or cannot be seen."""
    if engine.dialect.name != "sqlite":
        return None
    try:
        inode = Path(f"{engine.url.database}-shm").stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for words in map(str.split, lines):  # `1: POSIX ADVISORY WRITE <pid> <device>:<inode> <first byte> <last byte>`
        if len(words) == 8 and words[3] == "WRITE" and words[5].endswith(f":{inode}"):
            first, last = int(words[6]), words[7]
            if first <= WAL_WRITE_LOCK and (last == "EOF" or int(last) >= WAL_WRITE_LOCK) and int(words[4]) > 0:
                return int(words[4])
    return None


def check_integrity(session: Session, table: str) -> str | None:
    """Check the pages of one table and its indexes on SQLite. Returns the first problem, or None."""
    if session.get_bind().dialect.name != "sqlite":
        return None
    name = table.replace("'", "''")
    answer = session.execute(text(f"PRAGMA quick_check('{name}')")).scalars().first()
    return None if answer in ("ok", None) else str(answer).splitlines()[0]


def database_sizes(session: Session) -> dict[str, int]:
    """Return the bytes of the database and, on SQLite, of its write-ahead log."""
    if session.get_bind().dialect.name == "postgresql":
        return {"database": int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0), "wal": 0}
    path = Path(str(session.get_bind().engine.url.database))
    wal = path.with_name(path.name + "-wal")
    return {"database": path.stat().st_size, "wal": wal.stat().st_size if wal.exists() else 0}


def read_sequences(session: Session) -> dict[str, int]:
    """Read the last number of each SQLite table whose ids are never reused, and of each counter."""
    rows = session.execute(text("SELECT name, seq FROM sqlite_sequence UNION SELECT name, value FROM counters"))
    return {name: int(number) for name, number in rows}


def advance_sequences(session: Session, numbers: dict[str, int]) -> None:
    """Advance SQLite's sequences to the `numbers` that `read_sequences` returned for another copy, so that none is reused."""
    for name, number in numbers.items():
        values = {"name": name, "number": number}
        session.execute(text("UPDATE counters SET value = max(value, :number) WHERE name = :name"), values)
        session.execute(text("UPDATE sqlite_sequence SET seq = max(seq, :number) WHERE name = :name"), values)
        session.execute(
            text(
                "INSERT INTO sqlite_sequence (name, seq) SELECT :name, :number"
                " WHERE EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = :name)"
                " AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = :name)"
            ),
            values,
        )


class BackupFailed(RuntimeError):
    """The store could not be copied. Nothing is left of the attempt."""


def backup_database(engine: Engine, target: Path) -> None:
    """Copy a SQLite store through SQLite, verify the copy, then rename it to `target`.

    Raises `BackupFailed` where the store or the target does not allow it, ValueError for PostgreSQL, which has pg_dump.
    """
    if engine.dialect.name != "sqlite":
        raise ValueError("A PostgreSQL store must be backed up with pg_dump.")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        _copy_database(str(engine.url.database), str(part))
        part.chmod(0o600)
        part.replace(target)
    except pysqlite3.Error as error:
        raise BackupFailed(f"the store cannot be copied to {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _copy_database(source: str, part: str) -> None:
    with closing(pysqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (part,))
    with closing(pysqlite3.connect(part)) as copy:
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise BackupFailed(f"the copy of the store is damaged: {verdict}")
