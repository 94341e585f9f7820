"""Observed health checks, incidents that escalate, and numbers of canary tickets"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "health_checks",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("since", models.UtcTime(), nullable=False),
        sa.Column("right_since", models.UtcTime(), nullable=True),
        sa.Column("seen", models.UtcTime(), nullable=False),
        sa.CheckConstraint("status IN ('ok', 'warning', 'failed')", name=op.f("health_checks_status_known")),
        sa.PrimaryKeyConstraint("host", "name", name=op.f("health_checks_pkey")),
        sqlite_strict=True,
    )
    # Heartbeats bear the names of their tasks from now on.
    for old, new in (("pickup", "ticket-pickup"), ("programs", "probe-agents")):
        op.execute(f"UPDATE heartbeats SET \"check\" = '{new}' WHERE \"check\" = '{old}'")  # noqa: S608 - constants
    op.execute("INSERT INTO counters (name, value) VALUES ('mc-canary', 0)")
    op.add_column("incidents", sa.Column("escalations", models.BigId, nullable=False, server_default="0"))
    # A time of long ago, as an added column needs a constant; an open incident then escalates at the next look.
    op.add_column(
        "incidents", sa.Column("opened", models.UtcTime(), nullable=False, server_default="1970-01-01T00:00:00.000000Z")
    )
    op.execute("UPDATE incidents SET opened = last_seen")
