"""Connections, transactions, statement helpers and dialect differences of the store."""

from __future__ import annotations

import fcntl
import os
import random
import select as os_select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial, wraps
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
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session as Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TypedReturnsRows

from models import Answer, Base, Columns, Numbers

BUSY_MILLISECONDS = 10_000
"""Maximum time that a transaction waits for a locked store."""


STATEMENT_SECONDS = 60
"""Longest statement on PostgreSQL, its wait for a lock included; a migration is not bound by it."""


IDLE_SECONDS = 5
"""Longest pause within a writing transaction on PostgreSQL. A host that is suspended in one would else block all others,
once for each of its threads that waits for the lock.
"""
IDLE_IN_TRANSACTION = "25P03"
"""PostgreSQL's code for a transaction that was cut off for it."""


MIN_MILLISECONDS = 100


CHECKS_BEFORE_QUEUE = 20


CHECK_PAUSE_SECONDS = (0.004, 0.016)


STALL_SECONDS = 1.0
"""How long the writers of a process may make no progress before further ones are refused at once."""


StoreUnavailable = OperationalError
"""The store is locked, full, read-only or unreachable. The transaction has been rolled back."""


StoreError = DatabaseError
"""The store failed, `StoreUnavailable` included, for example as its file is damaged."""


class WriteLockBusy(StoreUnavailable):
    """The write lock is not free, and this writer may not wait for it. Nothing was written."""

    def __init__(self) -> None:
        super().__init__("BEGIN", None, RuntimeError("other writers wait for the write lock already; try again later"))


class UnsafeSQLite(RuntimeError):
    """The linked SQLite can lose committed rows when several processes write and checkpoint."""


def check_sqlite(version: str = pysqlite3.sqlite_version) -> None:
    """Refuse a SQLite that can lose rows. Safe versions are 3.51.3+ (not 3.52.0), 3.50.7+ in 3.50, 3.44.6+ in 3.44."""
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
    """Create an engine for `sqlite:///path` or a PostgreSQL URL, refusing a faulty SQLite before opening the file.

    Its error messages omit the parameters of statements, as they are logged and may contain private texts.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        server_engine = create_engine(
            address, connect_args=_timeouts(address), pool_pre_ping=True, hide_parameters=True
        )
        event.listen(server_engine, "handle_error", _report_cut_transaction, retval=True)
        return server_engine
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


def _report_cut_transaction(context: ExceptionContext) -> StoreUnavailable | None:
    """Report a transaction that was cut off after `IDLE_SECONDS` as `StoreUnavailable`, which psycopg does not."""
    if getattr(context.original_exception, "sqlstate", None) != IDLE_IN_TRANSACTION:
        return None
    context.is_disconnect = True
    return StoreUnavailable(context.statement, None, context.original_exception, hide_parameters=True)


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
    """Open a read-only session over one snapshot."""
    with Session(_use_one_snapshot(engine), expire_on_commit=False, autoflush=False, info={"asked": {}}) as session:
        yield session


def fetch_rows(session: Session, statement: TypedReturnsRows[*Columns], **values: Any) -> CursorResult[*Columns]:
    """Run a statement that selects columns only, without the ORM, whose overhead exceeds the time of such a statement."""
    session.flush()
    return session.connection().execute(statement, values)


def end_read(session: Session) -> None:
    """End the snapshot of a `reading` session before slow work, such as git. Loaded values are unchanged."""
    session.commit()
    session.info["asked"] = {}


def once_per_session(question: Callable[[Session], Answer]) -> Callable[[Session], Answer]:
    """Cache the result of a query about the whole store within a `reading` session.

    Its snapshot does not change. In a `writing` session the query runs each time. Callers must not modify the result.
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


class WriterLimit:
    """Limit on the threads of a process that hold or await the write lock, so that its other threads can still read.

    Further writers wait for a slot while others make progress, and are refused when nobody has got the lock for
    `STALL_SECONDS`: another program has locked the store.
    """

    def __init__(self, size: int) -> None:
        self._free_slots = self._size = size
        self._progress_time = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def hold_slot(self, *, patient: bool = True) -> Iterator[None]:
        """Hold a slot for the length of the block. Raises `WriteLockBusy` when there is none."""
        with self._changed:
            self._take_slot(patient)
        try:
            yield
        finally:
            with self._changed:
                self._free_slots += 1
                self._changed.notify()

    def note_progress(self) -> None:
        """Record that a writer of this process has got the lock."""
        self._progress_time = time.monotonic()

    def _take_slot(self, patient: bool) -> None:
        if self._free_slots == self._size:
            self.note_progress()
        while self._free_slots == 0:
            seconds_left = self._progress_time + STALL_SECONDS - time.monotonic()
            if not patient or seconds_left <= 0:
                raise WriteLockBusy
            self._changed.wait(seconds_left)
        self._free_slots -= 1


def limit_writers(engine: Engine, count: int) -> None:
    """Limit the threads of this process that hold or await the write lock of the store."""
    engine.update_execution_options(mc_writers=WriterLimit(count))


@contextmanager
def writing(
    engine: Engine, require: Callable[[Session], object] | None = None, *, patient: bool = True
) -> Iterator[Session]:
    """Open a session that holds the write lock from its first statement and commits on a clean exit.

    `require` raises when there is nothing left to write. It reads in a transaction of its own before the write lock is
    requested and while other writers hold it, so that late writers do not delay others. A writer that is not `patient`
    is refused with `StoreUnavailable` when others hold the lock.

    Keep the session to milliseconds: no network, process or file work inside, never open across a `yield` of a stream.
    """
    check = partial(_ask, engine, require) if require else None
    limit: WriterLimit | None = engine.get_execution_options().get("mc_writers")
    slot: AbstractContextManager[None] = limit.hold_slot(patient=patient) if limit else nullcontext()
    with (
        slot,
        write_queue(engine, check, patient=patient) as timeout,
        Session(engine, expire_on_commit=False) as session,
        session.begin(),
    ):
        session.connection(execution_options={"mc_writing": True, "mc_patience": timeout})
        take_write_lock(session, patient=patient)
        if limit:
            limit.note_progress()
        yield session


def _ask(engine: Engine, require: Callable[[Session], object]) -> None:
    with reading(engine) as session:
        require(session)


@contextmanager
def write_queue(engine: Engine, check: Callable[[], None] | None = None, *, patient: bool = True) -> Iterator[int]:
    """Queue the writers of a SQLite store at a file lock, which wakes them in turn and is released when its holder dies.

    Yields the milliseconds that the writer may still wait for a program that has locked the store without the queue. Time
    spent in the queue is subtracted, so that a locked store answers all writers in about the same time.

    SQLite's own busy handler polls with growing pauses: among 16 writers some starved past ten seconds, and the others
    made a third of the claims. PostgreSQL queues by itself.

    `check` raises when the write has become obsolete. See `_lock_queue`.
    """
    if engine.dialect.name != "sqlite":
        if check:
            check()
        yield BUSY_MILLISECONDS
        return
    start_time = time.monotonic()
    lock_file = _open_lock_file(f"{engine.url.database}-writers")
    try:
        if patient:
            _lock_queue(lock_file, check)
        elif not _try_lock(lock_file):
            raise WriteLockBusy
        seconds_left = BUSY_MILLISECONDS / 1000 - (time.monotonic() - start_time) if patient else 0
        yield max(MIN_MILLISECONDS, int(1000 * seconds_left))
    finally:
        os.close(lock_file)


def _open_lock_file(path: str) -> int:
    """Open the file of the writers' queue. Raises `StoreUnavailable` in a folder that is read-only or full."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable("BEGIN", None, error) from error


def _lock_queue(lock_file: int, check: Callable[[], None] | None) -> None:
    """Lock the file of the writers' queue.

    A writer with a `check` repeats it after random pauses before it queues. Otherwise rivals for the same row would all
    queue, and each would wait for its turn only to find that it has lost.
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
    """Set the isolation level to one snapshot per transaction, which PostgreSQL needs and SQLite always has."""
    return (
        engine.execution_options(isolation_level="REPEATABLE READ") if engine.dialect.name == "postgresql" else engine
    )


def take_write_lock(session: Session, *, patient: bool = True) -> None:
    """Take PostgreSQL's write lock, so that writers commit in the order of their event ids, and notify listeners.

    Without the lock a tailer that reads by id loses events that commit late (854 of 3,200, measured).
    On SQLite `BEGIN IMMEDIATE` is that lock.
    """
    if session.get_bind().dialect.name == "postgresql":
        if not patient:
            session.execute(text(f"SET LOCAL lock_timeout = {MIN_MILLISECONDS}"))
        idle_limit = f"set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', true)"
        session.execute(text(f"SELECT {idle_limit}, pg_advisory_xact_lock(7223001)"))
        session.execute(text("SELECT pg_notify('mc_events', '')"))


def insert_or_ignore(session: Session, into: type[Base]) -> Insert:
    """Build an INSERT that does nothing on a conflict. `rowcount` or RETURNING shows whether it inserted."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite_insert(into).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert  # at need: it loads the whole dialect

    return postgresql_insert(into).on_conflict_do_nothing()


def in_ids(column: InstrumentedAttribute[int], name: str) -> ColumnElement[bool]:
    """Build a condition that a column is in the list of numbers bound under this name.

    The statement is the same for any number of values. An expanding IN binds each one, which takes as long as finding
    its row.
    """
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
    """SQL function for the seconds between two `UtcTime` columns or expressions."""

    type = Double()
    inherit_cache = True


@compiles(seconds_between)
def _seconds_between(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    if compiler.dialect.name == "postgresql":
        return f"(date_part('epoch', {end}) - date_part('epoch', {start}))"
    return f"((julianday({end}) - julianday({start})) * 86400.0)"


class ChangeWatcher:
    """Detector of commits by other connections for a tailer, which never opens a transaction."""

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
        """Return whether something may have been committed since the last call, waiting up to `timeout` s on PostgreSQL."""
        if self._postgresql:
            os_select.select([self._connection.fileno()], [], [], timeout)
            return any(True for _ in self._connection.notifies(timeout=0))
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        before, self._seen = self._seen, version
        return bool(version != before)

    @property
    def blocks(self) -> bool:
        """True when `has_changed` itself waits. Otherwise the caller paces the polling."""
        return self._postgresql

    def close(self) -> None:
        self._connection.close()
