"""Reviews by agents, their findings, the members of a council and the reviewer of a project"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

VERDICTS = "verdict IN ('approve', 'request_changes', 'needs_person')"
SEVERITIES = "severity IN ('CRITICAL', 'IMPORTANT', 'MINOR')"


def upgrade() -> None:
    op.add_column("agents", sa.Column("members", models.Json(), nullable=False, server_default="[]"))
    op.add_column("projects", sa.Column("reviewer", sa.Text(), nullable=True))
    op.create_table(
        "code_reviews",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("commit_sha", sa.Text(), nullable=False),
        sa.Column("base_sha", sa.Text(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("ended", models.UtcTime(), nullable=True),
        sa.CheckConstraint(VERDICTS, name=op.f("code_reviews_verdict_known")),
        _refer("code_reviews", "ticket_id", "tickets.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("code_reviews_pkey")),
        sa.UniqueConstraint(
            "ticket_id", "commit_sha", "reviewer", name=op.f("code_reviews_ticket_id_commit_sha_reviewer_key")
        ),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("code_reviews_open", "code_reviews", ["ended", "id"])
    op.create_table(
        "review_assessments",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("review_id", models.BigId, nullable=False),
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("findings", models.Json(), nullable=False),
        sa.Column("settled", models.UtcTime(), nullable=True),
        sa.CheckConstraint(VERDICTS, name=op.f("review_assessments_verdict_known")),
        _refer("review_assessments", "review_id", "code_reviews.id"),
        _refer("review_assessments", "ticket_id", "tickets.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("review_assessments_pkey")),
        sa.UniqueConstraint("ticket_id", name=op.f("review_assessments_ticket_id_key")),
        sqlite_strict=True,
    )
    op.create_index("review_assessments_by_review", "review_assessments", ["review_id"])
    op.create_table(
        "review_findings",
        sa.Column("comment_id", models.BigId, nullable=False),
        sa.Column("review_id", models.BigId, nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("found_by", models.Json(), nullable=False),
        sa.Column("created_ticket_id", models.BigId, nullable=True),
        sa.CheckConstraint(SEVERITIES, name=op.f("review_findings_severity_known")),
        _refer("review_findings", "comment_id", "line_comments.id"),
        _refer("review_findings", "review_id", "code_reviews.id"),
        _refer("review_findings", "created_ticket_id", "tickets.id", "SET NULL"),
        sa.PrimaryKeyConstraint("comment_id", name=op.f("review_findings_pkey")),
        sqlite_strict=True,
    )
    op.create_index("review_findings_by_review", "review_findings", ["review_id"])
    op.create_index("review_findings_by_ticket", "review_findings", ["created_ticket_id"])


def _refer(table: str, column: str, target: str, ondelete: str = "CASCADE") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"{table}_{column}_fkey"), ondelete=ondelete)
