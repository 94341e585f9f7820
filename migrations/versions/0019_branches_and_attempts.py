"""Trial merges of the branches of tickets, and tickets that are attempts at a parent"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("parent_id", models.BigId, nullable=False),
        sa.Column("kept", models.Flag(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("attempts_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["tickets.id"], name=op.f("attempts_parent_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("attempts_pkey")),
        sqlite_strict=True,
    )
    op.create_index("attempts_by_parent", "attempts", ["parent_id"])
    op.create_table(
        "branch_states",
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("head_sha", sa.Text(), nullable=False),
        sa.Column("tree_sha", sa.Text(), nullable=True),
        sa.Column("base", sa.Text(), nullable=True),
        sa.Column("tried_base", sa.Text(), nullable=True),
        sa.Column("tried_head", sa.Text(), nullable=True),
        sa.Column("conflicts", models.Json(), nullable=False),
        sa.Column("spans", models.Json(), nullable=False),
        sa.Column("overlaps", models.Json(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("checked", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("branch_states_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("branch_states_pkey")),
        sqlite_strict=True,
    )
