"""A PostgreSQL of the tests' own: a cluster on a private socket, started once a session, a database a test.

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

import psycopg
import pytest

import migrations
from models import open_engine, writing
from tickets import team

TEMPLATE = "mc_template"


def programs() -> Path | None:
    """The folder of Debian's newest PostgreSQL server programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@functools.cache
def server() -> str | None:
    """A URL with a `{}` for the database's name; None when there is no server."""
    given = os.environ.get("MC_TEST_DATABASE_URL")
    if given:
        return given.rsplit("/", 1)[0] + "/{}"
    folder = programs()
    if folder is None:
        return None
    # A short path: a socket's may have 107 bytes.
    data = Path(tempfile.mkdtemp(prefix="mcpg-", dir="/tmp"))
    user = _runner(data)
    _do(user, [str(folder / "initdb"), "-D", str(data / "db"), "-A", "trust", "-U", "mc", "--no-sync"])
    options = f"-k {data} -c listen_addresses='' -c fsync=off -c max_connections=200"
    _do(user, [str(folder / "pg_ctl"), "-D", str(data / "db"), "-o", options, "-l", str(data / "log"), "-w", "start"])
    atexit.register(_stop, user, folder, data)
    return f"postgresql+psycopg://mc@/{{}}?host={data}"


def _runner(data: Path) -> str | None:
    """The server refuses to run as root, so root hands it to an unprivileged user."""
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
def _template(pattern: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="mcpg-home-"))
    name = f"{TEMPLATE}_{os.getpid()}"
    _admin(pattern, f'CREATE DATABASE "{name}"')
    migrations.upgrade(pattern.format(name), home)
    engine = open_engine(pattern.format(name))
    with writing(engine) as session:
        team.seed(session, {"script": True, "claude": True, "codex": True})
    engine.dispose()
    atexit.register(_admin, pattern, f'DROP DATABASE "{name}"')


def _admin(pattern: str, statement: str) -> None:
    url = pattern.format("postgres").replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)  # names are made here, not read


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of a migrated, seeded database that is dropped afterwards."""
    pattern = server()
    if pattern is None:
        pytest.skip("PostgreSQL: no server programs (Debian: apt install postgresql)")
    _template(pattern)
    name = f"mc_{uuid.uuid4().hex[:12]}"
    _admin(pattern, f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}_{os.getpid()}"')
    try:
        yield pattern.format(name)
    finally:
        _admin(pattern, f'DROP DATABASE "{name}" WITH (FORCE)')
