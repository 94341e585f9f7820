"""Comments on lines of a review, and the commit that each person reviewed last"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "line_comments",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("line", models.BigId, nullable=False),
        sa.Column("is_old", models.Flag(), nullable=False),
        sa.Column("commit_sha", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("resolved", models.UtcTime(), nullable=True),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("line_comments_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("line_comments_pkey")),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("line_comments_by_ticket", "line_comments", ["ticket_id", "id"])
    op.create_table(
        "reviewed_commits",
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("commit_sha", sa.Text(), nullable=False),
        sa.Column("reviewed", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("reviewed_commits_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ticket_id", "person", name=op.f("reviewed_commits_pkey")),
        sqlite_strict=True,
    )
