"""Copied files, ports and tear-down of projects, and the slots of their repositories"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

PACKAGE_FOLDERS = frozenset({"node_modules", ".venv", "venv", "vendor", "target"})
"""What a package manager installs is large, so it stays a link."""


def upgrade() -> None:
    op.add_column("projects", sa.Column("copy_files", models.Json(), nullable=False, server_default="[]"))
    op.add_column("projects", sa.Column("teardown_command", models.Json(), nullable=True))
    op.add_column("projects", sa.Column("ports", models.BigId, nullable=False, server_default="4"))
    _split_linked_files()
    op.create_table(
        "repository_states",
        sa.Column("project_id", models.BigId, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("notes", models.Json(), nullable=False),
        sa.Column("slots", models.Json(), nullable=False),
        sa.Column("checked", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("repository_states_project_id_fkey")),
        sa.PrimaryKeyConstraint("project_id", "host", name=op.f("repository_states_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "slot_requests",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("project_id", models.BigId, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint("action IN ('set_aside', 'clean', 'delete')", name=op.f("slot_requests_action_known")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("slot_requests_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("slot_requests_pkey")),
        sa.UniqueConstraint("project_id", "host", "slot", name=op.f("slot_requests_project_id_host_slot_key")),
        sqlite_strict=True,
    )


def _split_linked_files() -> None:
    """Turn links into copies, so that an agent no longer edits the originals, but for folders of installed packages."""
    projects = sa.table(
        "projects", sa.column("id"), sa.column("link_files", models.Json()), sa.column("copy_files", models.Json())
    )
    connection = op.get_bind()
    for project, names in connection.execute(sa.select(projects.c.id, projects.c.link_files)).all():
        links = [name for name in names if name.rstrip("/").split("/")[-1] in PACKAGE_FOLDERS]
        copies = [name for name in names if name not in links]
        change = sa.update(projects).where(projects.c.id == project)
        connection.execute(change.values(link_files=links, copy_files=copies))
