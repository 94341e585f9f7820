"""PostgreSQL for the tests: a cluster on a private socket, started once per session, with a database for each test.

`MC_TEST_DATABASE_URL` names a server to use instead. Where no server can be started the tests that need one are
skipped with the reason, which is a failure in CI (`tests/skipping.py`).
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

import migrations
from database import open_engine, writing
from tickets.team import agents

from . import leftovers

TEMPLATE = "mc_template"
SEQUENCES = """SELECT sequencename AS name, COALESCE(last_value, start_value) AS value, last_value IS NOT NULL AS called
    FROM pg_sequences WHERE schemaname = 'public'"""
OTHERS = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
SCHEMA = """SELECT c.relname, c.relkind, c.relhastriggers, a.attname, a.atttypid::regtype::text, a.attnotnull
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname, a.attnum"""
"""Query of every table, index, sequence and column, to detect changes of the schema."""
_spare: list[str] = []
"""Databases that were reset for reuse, since copying the template takes most of a second."""


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL server programs in Debian's layout."""
    initdb_paths = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return initdb_paths[-1].parent if initdb_paths else Path(on_path).parent if on_path else None


@functools.cache
def server() -> str | None:
    """Start or find the server, and return its URL with a `{}` for the database name, or None without a server."""
    server_url = os.environ.get("MC_TEST_DATABASE_URL")
    if server_url:
        return server_url.rsplit("/", 1)[0] + "/{}"
    folder = programs()
    if folder is None:
        return None
    for abandoned in leftovers.sweep(Path("/tmp"), "mcpg-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    # A short path: a socket's may have 107 bytes.
    data = Path(tempfile.mkdtemp(prefix="mcpg-", dir="/tmp"))
    leftovers.own(data)
    user = _runner(data)
    _do(user, [str(folder / "initdb"), "-D", str(data / "db"), "-A", "trust", "-U", "mc", "--no-sync"])
    options = f"-k {data} -c listen_addresses='' -c fsync=off -c max_connections=200"
    _do(user, [str(folder / "pg_ctl"), "-D", str(data / "db"), "-o", options, "-l", str(data / "log"), "-w", "start"])
    atexit.register(_stop, user, folder, data)
    return f"postgresql+psycopg://mc@/{{}}?host={data}"


def restart_server() -> None:
    """Restart the server that this session has started, which ends every connection."""
    pattern, folder = server(), programs()
    if pattern is None or folder is None or os.environ.get("MC_TEST_DATABASE_URL"):
        pytest.skip("PostgreSQL: the server was not started here, so it is not restarted")
    data = Path(str(make_url(pattern).query["host"]))
    control = [str(folder / "pg_ctl"), "-D", str(data / "db"), "-l", str(data / "log"), "-w"]
    _do(_runner(data), [*control, "-m", "fast", "restart"])


def _runner(data: Path) -> str | None:
    """Give `data` to an unprivileged user and return its name, since the server refuses to run as root.

    Returns None if the current user is not root.
    """
    if os.geteuid() != 0:
        return None
    user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
    shutil.chown(data, user)
    return user


def _do(user: str | None, argv: list[str]) -> None:
    subprocess.run(argv, user=user, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/tmp")


def _stop(user: str | None, folder: Path, data: Path) -> None:
    _do(user, [str(folder / "pg_ctl"), "-D", str(data / "db"), "-m", "immediate", "stop"])
    shutil.rmtree(data, ignore_errors=True)


@functools.cache
def _template(pattern: str) -> str:
    """Create the migrated, seeded template database and return its name.

    Its schema `seed` has a copy of the rows that each test starts with.
    """
    home = Path(tempfile.mkdtemp(prefix="mcpg-home-"))
    name = f"{TEMPLATE}_{os.getpid()}"
    _admin(pattern, f'CREATE DATABASE "{name}"')
    migrations.upgrade_store(pattern.format(name), home)
    engine = open_engine(pattern.format(name))
    with writing(engine) as session:
        agents.seed_team(session, {"script": True, "claude": True, "codex": True})
    engine.dispose()
    with _connected(pattern, name) as connection:
        connection.execute("CREATE SCHEMA seed")
        for table in _tables(connection):
            connection.execute(f'CREATE TABLE seed."{table}" AS TABLE public."{table}"')
        connection.execute(f"CREATE TABLE seed.sequences AS {SEQUENCES}")
    atexit.register(_admin, pattern, f'DROP DATABASE "{name}"')
    return name


def _connected(pattern: str, name: str) -> psycopg.Connection[tuple[Any, ...]]:
    url = pattern.format(name).replace("postgresql+psycopg", "postgresql")
    return psycopg.connect(url, autocommit=True)


def _admin(pattern: str, statement: str) -> None:
    with _connected(pattern, "postgres") as connection:
        connection.execute(statement)  # names are made here, not read


def _tables(connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    return [name for (name,) in rows if name != "alembic_version"]


def _reset(pattern: str, name: str) -> bool:
    """Restore the rows and sequences of the template, which takes a tenth of the time of a new copy.

    Returns False if the schema was changed.
    """
    with _connected(pattern, name) as connection, _connected(pattern, _template(pattern)) as template:
        connection.execute(OTHERS)
        if connection.execute(SCHEMA).fetchall() != template.execute(SCHEMA).fetchall():
            return False
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")  # foreign keys hold again at the end
            for table in _tables(connection):
                connection.execute(f'DELETE FROM public."{table}"')
                connection.execute(f'INSERT INTO public."{table}" SELECT * FROM seed."{table}"')
            connection.execute("SELECT setval(format('%I', name)::regclass, value, called) FROM seed.sequences")
    return True


@contextmanager
def fresh_database() -> Iterator[str]:
    """Provide the URL of a migrated, seeded database, which is reset for the next test."""
    pattern = server()
    if pattern is None:
        pytest.skip("PostgreSQL: no server programs (Debian: apt install postgresql)")
    name = _spare.pop() if _spare else _create(pattern)
    try:
        yield pattern.format(name)
    finally:
        if _reset(pattern, name):
            _spare.append(name)


def _create(pattern: str) -> str:
    name = f"mc_{uuid.uuid4().hex[:12]}"
    _admin(pattern, f'CREATE DATABASE "{name}" TEMPLATE "{_template(pattern)}"')
    atexit.register(_admin, pattern, f'DROP DATABASE "{name}" WITH (FORCE)')
    return name
