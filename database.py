"""Connections, transactions, statement helpers, dialect differences and backup of the store."""

from __future__ import annotations

import fcntl
import os
import random
import select as os_select
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pysqlite3
from sqlalchemy import (
    URL,
    ColumnElement,
    CursorResult,
    Double,
    Insert,
    bindparam,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy import Engine as Engine
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session as Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TypedReturnsRows

from models import Answer, Base, Columns, Numbers

BUSY_MILLISECONDS = 10_000
"""How long a transaction waits for a store that somebody has locked."""


STATEMENT_SECONDS = 60
"""Longest statement on PostgreSQL, its wait for a lock included; a migration is not bound by it."""


MIN_MILLISECONDS = 100


CHECKS_BEFORE_QUEUE = 20


CHECK_PAUSE_SECONDS = (0.004, 0.016)


StoreUnavailable = OperationalError
"""The store is locked, full, read-only or out of reach; what was being written has been rolled back."""


class UnsafeSQLite(RuntimeError):
    """The linked SQLite can lose committed rows when several processes write and checkpoint."""


def check_sqlite(version: str = pysqlite3.sqlite_version) -> None:
    """Refuse a SQLite that can lose rows: safe are 3.51.3+ (not 3.52.0), 3.50.7+ in 3.50, 3.44.6+ in 3.44."""
    parts = tuple(int(part) for part in version.split("."))
    safe = (
        (parts >= (3, 51, 3) and parts != (3, 52, 0)) or (3, 50, 7) <= parts < (3, 51) or (3, 44, 6) <= parts < (3, 45)
    )
    if not safe:
        raise UnsafeSQLite(
            f"SQLite {version} is not safe for several writing processes. Mission Control needs 3.51.3 or later"
            " (not 3.52.0), or 3.50.7+ within 3.50, or 3.44.6+ within 3.44: install pysqlite3>=0.6.1 in its environment."
        )


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///path` or a PostgreSQL URL; refuses a faulty SQLite before touching the file.

    Its errors do not hold the values of their statement: they are logged, and what people and agents write is not.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return create_engine(address, connect_args=_timeouts(address), pool_pre_ping=True, hide_parameters=True)
    check_sqlite()
    engine = create_engine(url, module=pysqlite3, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _timeouts(address: URL) -> dict[str, Any]:
    """Connection parameters that bound each call to PostgreSQL, but for those that the address of the store sets itself.

    A server that is gone without a word is noticed within half a minute: see `tcp_user_timeout` and `keepalives` of libpq.
    """
    bounds = {
        "connect_timeout": 10,
        "tcp_user_timeout": 30_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "options": f"-c statement_timeout={STATEMENT_SECONDS}s",
    }
    return {name: value for name, value in bounds.items() if name not in address.query}


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    options = connection.get_execution_options()
    timeout = int(options.get("mc_patience", BUSY_MILLISECONDS))
    connection.connection.driver_connection.execute(f"PRAGMA busy_timeout={timeout}").close()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("mc_writing", False) else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session over one snapshot; nothing is written."""
    with Session(_use_one_snapshot(engine), expire_on_commit=False, autoflush=False, info={"asked": {}}) as session:
        yield session


def fetch_rows(session: Session, statement: TypedReturnsRows[*Columns], **values: Any) -> CursorResult[*Columns]:
    """Run a statement of columns alone. What `execute` does to make objects of rows takes longer than such a statement."""
    session.flush()
    return session.connection().execute(statement, values)


def end_read(session: Session) -> None:
    """End the snapshot of a `reading` before slow work, such as git; what was read stays as it was read."""
    session.commit()
    session.info["asked"] = {}


def once_per_session(question: Callable[[Session], Answer]) -> Callable[[Session], Answer]:
    """Ask a question about the whole store once in a `reading`, however many parts of a page need the answer.

    Its snapshot does not change; where something is written, each asks anew. Nobody may change the answer.
    Without it pages take up to 12 % longer.
    """

    @wraps(question)
    def ask(session: Session) -> Answer:
        answers: dict[Any, Answer] | None = session.info.get("asked")
        if answers is None:
            return question(session)
        if question not in answers:
            answers[question] = question(session)
        return answers[question]

    return ask


@contextmanager
def writing(engine: Engine, require: Callable[[Session], object] | None = None) -> Iterator[Session]:
    """A session that holds the write lock from its first statement and commits on a clean exit.

    `require` raises when there is nothing to write any more. It reads in a transaction of its own, before the write lock is
    asked for and while other writers hold it, so that whoever came too late does not keep them waiting.
    Keep it to milliseconds: no network, process or file work inside, never open across a `yield` of a stream.
    """
    check = partial(_ask, engine, require) if require else None
    with write_queue(engine, check) as timeout, Session(engine, expire_on_commit=False) as session, session.begin():
        session.connection(execution_options={"mc_writing": True, "mc_patience": timeout})
        take_write_lock(session)
        yield session


def _ask(engine: Engine, require: Callable[[Session], object]) -> None:
    with reading(engine) as session:
        require(session)


@contextmanager
def write_queue(engine: Engine, check: Callable[[], None] | None = None) -> Iterator[int]:
    """SQLite: writers stand in line at a file lock, which wakes them in turn and frees itself when its holder dies.

    Yields how many milliseconds the writer may still wait for a stranger that has locked the store: whoever has stood in
    line for long is not let wait as long again, so that a locked store answers all in about the same time.

    SQLite's own busy handler polls with growing pauses: among 16 writers some starved past ten seconds, and the others
    made a third of the claims. PostgreSQL queues by itself.

    `check` raises when the write has become void; see `_lock_queue`.
    """
    if engine.dialect.name != "sqlite":
        if check:
            check()
        yield BUSY_MILLISECONDS
        return
    start_time = time.monotonic()
    lock_file = os.open(f"{engine.url.database}-writers", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock_queue(lock_file, check)
        yield max(MIN_MILLISECONDS, BUSY_MILLISECONDS - int(1000 * (time.monotonic() - start_time)))
    finally:
        os.close(lock_file)


def _lock_queue(lock_file: int, check: Callable[[], None] | None) -> None:
    """Lock the file of the writers' queue.

    A writer with a `check` repeats that after random pauses before it stands in line: rivals for the same row would otherwise
    stand there in lock-step, and each that has lost would take its turn only to find that out.
    """
    if check is None:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        return
    check()
    if _try_lock(lock_file):
        return
    for _ in range(CHECKS_BEFORE_QUEUE):
        time.sleep(random.uniform(*CHECK_PAUSE_SECONDS))  # noqa: S311 - no secret
        check()
        if _try_lock(lock_file):
            break
    else:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
    check()


def _try_lock(lock_file: int) -> bool:
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _use_one_snapshot(engine: Engine) -> Engine:
    """PostgreSQL gives each statement a snapshot of its own, unless it is told otherwise; SQLite's last a transaction."""
    return (
        engine.execution_options(isolation_level="REPEATABLE READ") if engine.dialect.name == "postgresql" else engine
    )


def take_write_lock(session: Session) -> None:
    """PostgreSQL: writers commit in the order of their event ids, and listeners are woken at commit.

    Without the lock a tailer that reads by id loses events which commit late (854 of 3,200, measured).
    On SQLite `BEGIN IMMEDIATE` is that lock.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(7223001)"))
        session.execute(text("SELECT pg_notify('mc_events', '')"))


def insert_or_ignore(session: Session, into: type[Base]) -> Insert:
    """An INSERT that does nothing on a conflict; `rowcount` or RETURNING tells whether it inserted."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite_insert(into).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert  # at need: it loads the whole dialect

    return postgresql_insert(into).on_conflict_do_nothing()


def in_ids(column: InstrumentedAttribute[int], name: str) -> ColumnElement[bool]:
    """Whether a column holds one of the numbers that a statement is given under this name. It stays the same statement however
    many there are, where each of an expanding IN is a value of its own, which takes as long as to find its row."""
    return column.bool_op("IN")(_each_of(bindparam(name, type_=Numbers())))


class _each_of(FunctionElement[int]):
    inherit_cache = True


@compiles(_each_of)
def _rows_of_each(element: _each_of, compiler: SQLCompiler, **options: Any) -> str:
    numbers = compiler.process(element.clauses, **options)
    if compiler.dialect.name == "postgresql":
        return f"(SELECT unnest({numbers}))"
    return f"(SELECT value FROM json_each({numbers}))"  # noqa: S608 - it is the mark of a value


class seconds_between(FunctionElement[float]):
    """Of two columns or expressions of `UtcTime`: the seconds from the first to the second."""

    type = Double()
    inherit_cache = True


@compiles(seconds_between)
def _seconds_between(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    if compiler.dialect.name == "postgresql":
        return f"(date_part('epoch', {end}) - date_part('epoch', {start}))"
    return f"((julianday({end}) - julianday({start})) * 86400.0)"


class ChangeWatcher:
    """Tells a tailer when another connection may have committed; never opens a transaction."""

    def __init__(self, engine: Engine) -> None:
        self._postgresql = engine.dialect.name == "postgresql"
        self._connection: Any
        if self._postgresql:
            import psycopg

            url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            self._connection = psycopg.connect(url, autocommit=True, **_timeouts(engine.url))
            self._connection.execute("LISTEN mc_events")
        else:
            self._connection = pysqlite3.connect(engine.url.database, isolation_level=None, check_same_thread=False)
        self._seen: int | None = None

    def has_changed(self, timeout: float) -> bool:
        """True when something may have been committed since the last call; on PostgreSQL waits up to `timeout` s."""
        if self._postgresql:
            os_select.select([self._connection.fileno()], [], [], timeout)
            return any(True for _ in self._connection.notifies(timeout=0))
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        before, self._seen = self._seen, version
        return bool(version != before)

    @property
    def blocks(self) -> bool:
        """Whether `has_changed` itself waits; if not, the caller paces the polling."""
        return self._postgresql

    def close(self) -> None:
        self._connection.close()


def database_sizes(session: Session) -> dict[str, int]:
    """Bytes of the database and, on SQLite, of its write-ahead log."""
    if session.get_bind().dialect.name == "postgresql":
        return {"database": int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0), "wal": 0}
    path = Path(str(session.get_bind().engine.url.database))
    wal = path.with_name(path.name + "-wal")
    return {"database": path.stat().st_size, "wal": wal.stat().st_size if wal.exists() else 0}


def read_sequences(session: Session) -> dict[str, int]:
    """SQLite: the last number that was given in each table whose numbers are never given again, and of each counter."""
    rows = session.execute(text("SELECT name, seq FROM sqlite_sequence UNION SELECT name, value FROM counters"))
    return {name: int(number) for name, number in rows}


def advance_sequences(session: Session, numbers: dict[str, int]) -> None:
    """SQLite: give no number again that was given elsewhere, as `numbers_given` tells."""
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
    """The store could not be copied; nothing is left of the attempt."""


def backup_database(engine: Engine, target: Path) -> None:
    """Copy a SQLite store through SQLite, verify the copy, then give it its name. PostgreSQL has pg_dump.

    Raises `BackupFailed` where the store or the place of the copy does not allow it.
    """
    if engine.dialect.name != "sqlite":
        raise ValueError("a PostgreSQL store is backed up with pg_dump")
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
