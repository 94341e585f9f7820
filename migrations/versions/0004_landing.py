"""What becomes of approved work"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Written out, as SQLite adds a check with its column, but not to a table; both databases read it alike.
    op.execute(
        "ALTER TABLE projects ADD COLUMN landing TEXT NOT NULL DEFAULT 'leave' CONSTRAINT projects_landing_known"
        " CHECK (landing IN ('leave', 'merge', 'squash', 'push', 'pull_request'))"
    )
    op.execute(
        "ALTER TABLE tickets ADD COLUMN landing TEXT CONSTRAINT tickets_landing_known"
        " CHECK (landing IN ('pending', 'failed'))"
    )
    op.add_column("tickets", sa.Column("landing_plan", models.Json(), nullable=True))
    some = sa.text("landing IS NOT NULL")
    op.create_index("tickets_landing", "tickets", ["landing", "id"], sqlite_where=some, postgresql_where=some)
