"""A copy of the store is put in the place of the store, and nothing takes the past for the present."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from database import open_engine, reading
from jobs import single_flight
from tickets.shared import runtime_flags
from workers.run import lock

from .test_cli import Mc
from .test_cli import mc as mc


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def copy(mc: Mc, home: Path) -> Path:
    """A copy with one ticket, of a store that has two by now."""
    mc("ticket", "create", "Before")
    copy_path = Path(mc("backup").output.strip())
    mc("ticket", "create", "After")
    return copy_path


def titles(mc: Mc) -> list[str]:
    return [row["title"] for row in json.loads(mc("ticket", "list", "--json").output)]


def epoch(home: Path) -> str:
    engine = open_engine(f"sqlite:///{home / 'mc.db'}")
    with reading(engine) as session:
        store_epoch = runtime_flags.get_epoch(session)
    engine.dispose()
    return store_epoch


def test_the_store_is_that_of_the_copy_and_what_it_replaces_is_kept(mc: Mc, home: Path, copy: Path) -> None:
    before = epoch(home)

    restored = mc("restore", str(copy))

    assert restored.exit_code == 0, restored.output
    assert titles(mc) == ["Before"]
    assert epoch(home) != before, "open pages must read everything anew"
    [old_store] = (home / "backups").glob("replaced-*.db")
    assert str(old_store) in restored.output
    mc("restore", str(old_store))
    assert titles(mc) == ["After", "Before"]


def test_no_number_is_given_twice(mc: Mc, home: Path, copy: Path) -> None:
    """A new run was taken for an older one of its number, and a new ticket found the other's folder."""
    (home / "runs" / "41").mkdir()
    mc("restore", str(copy))

    assert json.loads(mc("ticket", "create", "Anew", "--json").output)["identifier"] == "MC-3"
    with sqlite3.connect(home / "mc.db") as store:
        sequences = dict(store.execute("SELECT name, seq FROM sqlite_sequence"))
    assert sequences["runs"] == 41 and sequences["tickets"] == 3


def test_there_is_a_store_at_every_moment(mc: Mc, home: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: killed before the copy was in place, it left none, and the next restore gave numbers again."""

    replace = Path.replace

    def die(part: Path, target: Path) -> Path:
        if target == home / "mc.db":
            raise KeyboardInterrupt
        return replace(part, target)

    with monkeypatch.context() as patched:
        patched.setattr("jobs.restore.Path.replace", die)
        mc("restore", str(copy))
    assert titles(mc) == ["After", "Before"]
    mc("restore", str(copy))
    assert json.loads(mc("ticket", "create", "Anew", "--json").output)["identifier"] == "MC-3"


@pytest.mark.parametrize("linked", [False, True])
def test_nothing_is_restored_under_a_program_that_has_the_store_open(
    linked: bool, mc: Mc, home: Path, copy: Path
) -> None:
    if linked:  # Regression: open files are known by the place that the link leads to
        (home / "mc.db").rename(home / "store.db")
        (home / "mc.db").symlink_to("store.db")
    opening = (
        "import sqlite3, sys; store = sqlite3.connect(sys.argv[1]); store.execute('SELECT * FROM tickets'); print()"
    )
    argv = [sys.executable, "-c", f"{opening}; sys.stdout.flush(); sys.stdin.read()", str(home / "mc.db")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout and program.stdout.readline()
        result = mc("restore", str(copy))
        program.kill()
    assert result.exit_code == 1
    assert result.output == (
        f"Error: Programs have the store open (processes {program.pid}): stop Mission Control first.\n"
    )
    assert titles(mc) == ["After", "Before"]


def test_what_is_kept_is_a_store_of_its_own(mc: Mc, home: Path, copy: Path) -> None:
    (home / "mc.db").rename(home / "store.db")
    (home / "mc.db").symlink_to("store.db")

    assert mc("restore", str(copy)).exit_code == 0

    [old_store] = (home / "backups").glob("replaced-*.db")
    assert not old_store.is_symlink() and old_store.stat().st_nlink == 1 and (home / "mc.db").is_symlink()
    with sqlite3.connect(old_store) as store:
        assert store.execute("SELECT count(*) FROM tickets").fetchone() == (2,)
    assert titles(mc) == ["Before"]


def test_nothing_is_restored_under_an_agent_at_work(mc: Mc, home: Path, copy: Path) -> None:
    (home / "runs" / "7").mkdir()
    with lock.hold_lock(home / "runs" / "7"):
        result = mc("restore", str(copy))
    assert result.exit_code == 1 and "Agents are at work (runs 7)" in result.output
    assert titles(mc) == ["After", "Before"]


def test_what_a_restore_that_was_cut_off_has_left_is_not_its_own_source(mc: Mc, home: Path, copy: Path) -> None:
    left = home / "mc.db.restored"
    shutil.copy(copy, left)
    result = mc("restore", str(left))
    assert result.exit_code == 1 and "give it another name" in result.output
    assert left.read_bytes() == copy.read_bytes() and titles(mc) == ["After", "Before"]
    left.rename(home / "kept.db")
    assert mc("restore", str(home / "kept.db")).exit_code == 0
    assert titles(mc) == ["Before"] and not [*home.glob("mc.db.restored*")]


def test_one_copy_is_restored_at_a_time(mc: Mc, home: Path, copy: Path) -> None:
    with single_flight.hold_file(home / "run" / "restore.lock", "process 7"):
        result = mc("restore", str(copy))
    assert result.exit_code == 1
    assert result.output == "Error: Another copy is being restored just now (process 7): wait for it.\n"
    assert titles(mc) == ["After", "Before"]


def test_what_could_not_be_kept_whole_is_not_kept_at_all(
    mc: Mc, home: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (home / "mc.db").read_bytes()

    def cannot_be_read(place: Path) -> dict[str, int]:
        (home / "mc.db-wal").write_bytes(b"what could not be taken into the store")
        return {}

    def fill_the_disk(file: Path, to: Path) -> None:
        to.write_bytes(b"a part")
        if file == home / "mc.db":
            raise OSError(28, "No space left on device", str(to))

    with monkeypatch.context() as patched:
        patched.setattr("jobs.restore._read_sequences", cannot_be_read)
        patched.setattr("jobs.restore.shutil.copy", fill_the_disk)
        result = mc("restore", str(copy))

    assert result.exit_code == 1 and "No space left on device" in result.output
    assert [file.name for file in (home / "backups").iterdir()] == [copy.name]
    assert (home / "mc.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no database at all " * 99], ids=["empty", "garbage"])
def test_what_is_no_copy_of_a_store_replaces_nothing(mc: Mc, home: Path, copy: Path, content: bytes) -> None:
    copy.write_bytes(content)

    result = mc("restore", str(copy))

    assert result.exit_code == 1 and "Error: " in result.output and str(copy) in result.output
    assert titles(mc) == ["After", "Before"]
    assert not [*home.glob("mc.db.*"), *(home / "backups").glob("replaced-*")]


def test_a_copy_of_a_newer_version_replaces_nothing(mc: Mc, home: Path, copy: Path) -> None:
    with sqlite3.connect(copy) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of tomorrow'")

    result = mc("restore", str(copy))

    assert result.exit_code == 1 and "by a newer version" in result.output
    assert titles(mc) == ["After", "Before"]


def test_a_store_that_cannot_be_read_any_more_is_replaced_too(mc: Mc, home: Path, copy: Path) -> None:
    (home / "mc.db").write_bytes(b"no database at all " * 99)
    for part in ("-wal", "-shm"):
        (home / f"mc.db{part}").unlink(missing_ok=True)

    restored = mc("restore", str(copy))

    assert restored.exit_code == 0, restored.output
    assert titles(mc) == ["Before"]


def test_what_is_left_of_a_store_that_was_moved_away_does_not_meet_the_copy(mc: Mc, home: Path, copy: Path) -> None:
    with sqlite3.connect(home / "mc.db") as store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("CREATE TABLE left_over (id)")
        shutil.copyfile(home / "mc.db-wal", home / "log")
    store.close()
    (home / "mc.db").rename(home / "moved.db")
    (home / "log").rename(home / "mc.db-wal")

    restored = mc("restore", str(copy))

    assert restored.exit_code == 0, restored.output
    assert titles(mc) == ["Before"]
    with sqlite3.connect(home / "mc.db") as store:
        assert store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'left_over'").fetchone() == (0,)
    store.close()


def test_what_a_restore_that_was_killed_has_left_does_not_meet_the_next_copy(mc: Mc, home: Path, copy: Path) -> None:
    with sqlite3.connect(home / "mc.db.restored") as store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("CREATE TABLE left_over AS SELECT randomblob(900000) AS bytes")
        store.commit()
        shutil.copyfile(home / "mc.db.restored-wal", home / "log")
    store.close()
    (home / "log").rename(home / "mc.db.restored-wal")

    assert mc("restore", str(copy)).exit_code == 0

    assert titles(mc) == ["Before"]
    with sqlite3.connect(home / "mc.db") as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
