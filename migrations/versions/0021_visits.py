"""When each person was last here, with runs by their end for what happened since, and the ticket template of a project"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "visits",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("last_seen", models.UtcTime(), nullable=False),
        sa.Column("away_since", models.UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("person", name=op.f("visits_pkey")),
        sqlite_strict=True,
    )
    op.create_index("runs_ended", "runs", ["ended"])
    op.add_column("projects", sa.Column("ticket_template", sa.Text(), nullable=False, server_default=""))
