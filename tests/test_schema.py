from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, select, text

import migrations
from database import open_engine, reading
from models import Base, Heartbeat, Landing, Profile, Project, Ticket, format_timestamp

THEN = "'2026-01-01T00:00:00.000000Z'"
ROWS = (
    "INSERT INTO projects (slug, name, folder, base_branch, link_files, gate, max_runs, archived, version, created)"
    f" VALUES ('web', 'Web', '/srv/web', 'main', '[\".env\", \"web/node_modules\"]', 'person', 2, 0, 1, {THEN})",
    f"INSERT INTO heartbeats (\"check\", status, detail, ts) VALUES ('pickup', 'ok', '', {THEN}), ('backup', 'ok', '', {THEN})",
    "INSERT INTO profiles (name, program, mode, permissions, argv, env_allow, limits, created)"
    f" VALUES ('free', 'claude', 'headless', 'bypass', '[]', '[]', '{{}}', {THEN})",
    "INSERT INTO tickets (identifier, title, description, status, priority, requester, project_id, gate, resume, attempts,"
    " faults, acceptance, archived, version, event_seq, pruned_seq, created, updated) VALUES"
    f" ('MC-1', 'Before', '', 'todo', 1, 'alice', 1, 'person', 0, 0, 0, '[]', 0, 1, 0, 0, {THEN}, {THEN})",
)


@pytest.mark.both_databases
def test_the_migrations_make_exactly_the_tables_of_the_models(engine: Engine) -> None:
    comparable = (
        engine.dialect.name == "sqlite"
    )  # PostgreSQL reports a text column as unlike an enumeration kept as text
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": comparable})

        assert compare_metadata(context, Base.metadata) == []


def test_a_revision_is_known_by_the_name_of_its_file() -> None:
    scripts = ScriptDirectory.from_config(migrations.build_config())
    assert migrations.find_newest() == scripts.get_current_head()
    assert all(Path(revision.path).name.startswith(f"{revision.revision}_") for revision in scripts.walk_revisions())


def test_a_store_of_the_first_schema_keeps_its_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mc.db'}"
    engine = open_engine(url)
    with engine.connect() as connection, connection.begin():
        command.upgrade(migrations.build_config(connection), "0001")
        for statement in ROWS:
            connection.execute(text(statement))

    assert migrations.upgrade_store(url, tmp_path)

    with reading(engine) as session:
        ticket, project = session.scalars(select(Ticket)).one(), session.scalars(select(Project)).one()
        policy = session.scalars(select(Profile.permissions)).one()
        assert set(session.scalars(select(Heartbeat.check))) == {"ticket-pickup", "backup"}
    assert (policy, project.allowed_commands, project.network) == ("unrestricted", [], False)
    assert (ticket.title, ticket.landing, project.name, project.landing) == ("Before", None, "Web", Landing.LEAVE)
    assert (project.copy_files, project.link_files, project.ports) == ([".env"], ["web/node_modules"], 4)
    engine.dispose()


def test_an_empty_store_in_a_home_that_had_one_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mc.db'}"
    (tmp_path / "mc.db").touch()
    (tmp_path / "runs" / "12").mkdir(parents=True)
    with pytest.raises(migrations.StoreEmpty, match=r"files of 1 runs.* It has no backup"):
        migrations.upgrade_store(url, tmp_path)

    backups = tmp_path / "backups"
    backups.mkdir()
    for age, name in ((2, "old.db"), (1, "new.db")):
        (backups / name).touch()
        os.utime(backups / name, (time.time() - age, time.time() - age))
    with pytest.raises(migrations.StoreEmpty, match=re.escape(f"bin/mc restore {backups}/new.db")):
        migrations.upgrade_store(url, tmp_path)


def test_tickets_of_an_older_store_know_since_when_they_stand_where_they_are(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'mc.db'}")
    day = "2026-01-0{}T00:00:00.000000Z"
    with engine.connect() as connection, connection.begin():
        command.upgrade(migrations.build_config(connection), "0001")
        for number in (1, 2):
            connection.execute(
                text(
                    "INSERT INTO tickets (id, identifier, title, description, status, priority, requester, gate, resume,"
                    " attempts, faults, acceptance, archived, version, event_seq, pruned_seq, created, updated)"
                    f" VALUES ({number}, 'MC-{number}', 'x', '', 'todo', 1, 'bob', 'none', 0, 0, 0, '[]', 0, 1, 1, 0,"
                    f" '{day.format(1)}', '{day.format(9)}')"
                )
            )
        for seq, kind in enumerate(("ticket_moved", "ticket_moved", "ticket_edited"), 2):
            connection.execute(
                text(
                    "INSERT INTO ticket_events (ticket_id, seq, event_type, payload_json, actor, ts)"
                    f" VALUES (1, {seq}, '{kind}', '{{}}', 'bob', '{day.format(seq)}')"
                )
            )
        command.upgrade(migrations.build_config(connection), "head")
    with reading(engine) as session:
        assert [
            format_timestamp(move_time) for move_time in session.scalars(select(Ticket.moved).order_by(Ticket.id))
        ] == [
            day.format(3),
            day.format(1),
        ]
    engine.dispose()
