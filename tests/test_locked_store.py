"""A store that a stranger has locked: everybody is refused, and in about the same time."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, text

import database
import queue_reaper
from database import (
    Engine,
    StoreUnavailable,
    WriteLockBusy,
    WriterLimit,
    limit_writers,
    open_engine,
    reading,
    write_queue,
    writing,
)
from mc_cli import main
from tickets.operations import local_checks
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor

from .postgres import fresh_database
from .waiting import wait_until

BUSY = 40
STRANGER = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def hold_write_lock(path: Path) -> Iterator[int]:
    """Hold the write lock of a store in another process, whose id is yielded."""
    argv = [sys.executable, "-c", STRANGER, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout and stranger.stdout.readline() == b"locked\n"
        try:
            yield stranger.pid
        finally:
            stranger.kill()


@pytest.fixture
def store(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", BUSY)
    monkeypatch.setattr(database, "MIN_MILLISECONDS", 1)
    shutil.copy(template, tmp_path / "mc.db")
    engine = open_engine(f"sqlite:///{tmp_path / 'mc.db'}")
    yield engine
    engine.dispose()


def test_who_has_stood_in_line_does_not_wait_as_long_again(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writer in line waited its ten seconds after those of all before it: the tenth was refused after minutes."""
    has_begun, patience = threading.Event(), [BUSY]
    flock = fcntl.flock

    def tell(handle: int, operation: int) -> None:
        has_begun.set()
        flock(handle, operation)

    def wait() -> None:
        with write_queue(store) as left:
            patience.append(left)

    second = threading.Thread(target=wait)
    with write_queue(store) as first:
        monkeypatch.setattr(fcntl, "flock", tell)
        second.start()
        has_begun.wait()
        threading.Event().wait(2 * BUSY / 1000)
    second.join()
    assert first <= BUSY and patience == [BUSY, 1]


def test_an_error_of_the_store_does_not_repeat_what_somebody_wrote(store: Engine) -> None:
    """It is logged with its statement, and a token that was pasted into a comment with it."""
    with pytest.raises(StoreUnavailable) as failed, writing(store) as session:
        session.execute(text("INSERT INTO nowhere VALUES (:words)"), {"words": "sk-secret"})
    assert "sk-secret" not in str(failed.value)


def test_a_locked_store_refuses_what_is_written_and_takes_it_again_afterwards(store: Engine) -> None:
    with hold_write_lock(Path(str(store.url.database))), pytest.raises(StoreUnavailable), writing(store) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "in vain", Actor.system())
    with writing(store) as session:
        assert runtime_flags.get_pause_reason(session) is None
        runtime_flags.set_flag(session, runtime_flags.PAUSE, None, Actor.system())


def test_the_process_that_keeps_others_from_writing_is_named(store: Engine) -> None:
    """A scheduler that was suspended in a write was to be waited for, as if it were at work."""
    with hold_write_lock(Path(str(store.url.database))) as pid:
        check = local_checks.probe_write(store)
        assert f"Process {pid} (" in check.detail and f"stop it: kill {pid}." in check.remedy
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: "is suspended" in local_checks.probe_write(store).detail, description="the suspension")
        assert local_checks.probe_write(store).remedy == f"Let it go on: kill -CONT {pid}."


def test_a_home_that_cannot_be_written_refuses_what_is_written_as_a_locked_store_does(store: Engine) -> None:
    """Regression: in a read-only home every page answered 500, because the use of a token could not be recorded."""
    Path(f"{store.url.database}-writers").mkdir()
    with pytest.raises(StoreUnavailable), writing(store):
        pass


@pytest.mark.both_databases
def test_a_writer_that_does_not_wait_is_refused_while_another_writes(engine: Engine) -> None:
    with writing(engine), pytest.raises(StoreUnavailable), writing(engine, patient=False):
        pass
    with writing(engine, patient=False) as session:
        session.execute(text("SELECT 1"))


def test_more_writers_than_the_limit_are_refused_while_nobody_gets_the_lock(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: while another program had locked the store, writers held every thread, and no page answered."""
    monkeypatch.setattr(database, "STALL_SECONDS", 0)
    limit_writers(store, 1)
    with writing(store), pytest.raises(WriteLockBusy), writing(store):
        pass
    with writing(store) as session:
        session.execute(text("SELECT 1"))


def test_a_writer_beyond_the_limit_waits_while_others_get_the_lock(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STALL_SECONDS", 60)
    limit, waits = WriterLimit(1), threading.Event()
    wait = threading.Condition.wait

    def tell(condition: threading.Condition, timeout: float | None = None) -> bool:
        waits.set()
        return wait(condition, timeout)

    def write() -> None:
        with limit.hold_slot():
            pass

    second = threading.Thread(target=write)
    with limit.hold_slot():
        monkeypatch.setattr(limit._changed, "wait", partial(tell, limit._changed))
        second.start()
        assert waits.wait(60)
    second.join(60)
    assert not second.is_alive()


@pytest.mark.postgres
def test_a_statement_on_postgresql_is_cut_off_unless_the_address_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 1)
    with fresh_database() as url:
        engine = open_engine(url)
        with pytest.raises(StoreUnavailable, match="statement timeout"), writing(engine) as session:
            session.execute(text("SELECT pg_sleep(30)"))
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            parameters = driver.info.get_parameters()
        engine.dispose()
        patient = open_engine(
            make_url(url).update_query_dict({"options": "-c statement_timeout=9s"}).render_as_string(False)
        )
        with reading(patient) as session:
            assert session.scalar(text("SHOW statement_timeout")) == "9s"
        patient.dispose()
    assert (parameters["connect_timeout"], parameters["tcp_user_timeout"]) == ("10", "30000")


@pytest.mark.postgres
def test_a_host_that_is_suspended_in_a_write_does_not_keep_the_others_from_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A laptop that slept in the middle of a write kept every host of its fleet from writing until it woke."""
    monkeypatch.setattr(database, "IDLE_SECONDS", 1)
    reasons = []
    with fresh_database() as url:
        suspended, other = open_engine(url), open_engine(url)
        with pytest.raises(StoreUnavailable), writing(suspended) as session:
            runtime_flags.set_flag(session, runtime_flags.PAUSE, "lost", Actor.human())
            with writing(other) as writer:
                reasons.append(runtime_flags.get_pause_reason(writer))
            runtime_flags.set_flag(session, runtime_flags.PAUSE, "late", Actor.human())
        with writing(suspended) as session:
            reasons.append(runtime_flags.get_pause_reason(session))
        suspended.dispose()
        other.dispose()
    assert reasons == [None, None]


def test_a_sqlite_that_can_lose_rows_is_refused_before_the_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database.check_sqlite()
    for version in ("3.51.3", "3.51.10", "3.53.0", "3.50.7", "3.44.6"):
        database.check_sqlite(version)
    for version in ("3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.2"):
        with pytest.raises(database.UnsafeSQLite, match=version):
            database.check_sqlite(version)

    monkeypatch.setattr(database.check_sqlite, "__defaults__", ("3.52.0",))
    result = CliRunner().invoke(main, ["db", "upgrade"])

    assert (result.exit_code, queue_reaper.main(["--backup"])) == (1, 2)
    for output in (result.output, capsys.readouterr().err):
        assert "SQLite 3.52.0 is not safe" in output
    assert not (tmp_path / "home" / "mc.db").exists()
