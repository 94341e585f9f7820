"""Plans of tickets, and what a run tells of its checklist and its model"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Written out, as SQLite adds a check with its column, but not to a table; both databases read it alike.
    op.execute(
        "ALTER TABLE tickets ADD COLUMN planning TEXT CONSTRAINT tickets_planning_known"
        " CHECK (planning IN ('first', 'none'))"
    )
    op.add_column("profiles", sa.Column("plan_first", models.Flag(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("plans", models.Flag(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("model", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("model_order", models.Json(), nullable=True))
    op.add_column("runs", sa.Column("checklist", models.Json(), nullable=True))
    op.create_table(
        "ticket_plans",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("version", models.BigId, nullable=False),
        sa.Column("run_id", models.BigId, nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided", models.UtcTime(), nullable=True),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint(
            "author_kind IN ('human', 'run', 'orchestrator', 'service', 'system')",
            name=op.f("ticket_plans_author_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('proposed', 'replaced', 'returned', 'approved')", name=op.f("ticket_plans_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_plans_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_plans_pkey")),
        sa.UniqueConstraint("ticket_id", "version", name=op.f("ticket_plans_ticket_id_version_key")),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
