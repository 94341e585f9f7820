"""The ledger of tasks: a row for each time at which one was due"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

OPEN = sa.text("started IS NOT NULL AND ended IS NULL")


def upgrade() -> None:
    op.create_table(
        "task_slots",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("due", models.UtcTime(), nullable=False),
        sa.Column("until", models.UtcTime(), nullable=False),
        sa.Column("count", models.BigId, nullable=False),
        sa.Column("catch_up", sa.Text(), nullable=False),
        sa.Column("started", models.UtcTime(), nullable=True),
        sa.Column("ended", models.UtcTime(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ticket_id", models.BigId, nullable=True),
        sa.CheckConstraint("trigger IN ('timer', 'operator', 'event')", name=op.f("task_slots_trigger_known")),
        sa.CheckConstraint("catch_up IN ('skip', 'once', 'all')", name=op.f("task_slots_catch_up_known")),
        sa.CheckConstraint(
            "outcome IN ('acted', 'noop', 'skipped', 'warning', 'failed')", name=op.f("task_slots_outcome_known")
        ),
        sa.CheckConstraint(
            "reason IN ('not_running', 'asleep', 'disabled', 'still_running', 'paused', 'interrupted', 'busy')",
            name=op.f("task_slots_reason_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("task_slots_pkey")),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("task_slots_by_task", "task_slots", ["task", "due"])
    op.create_index("task_slots_by_host", "task_slots", ["task", "host", "until"])
    op.create_index("task_slots_until", "task_slots", ["until"])
    op.create_index("task_slots_open", "task_slots", ["host"], sqlite_where=OPEN, postgresql_where=OPEN)
