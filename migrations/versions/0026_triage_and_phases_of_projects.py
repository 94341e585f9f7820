"""Notes of triage on tickets of the inbox, and the phases that a project's tickets usually go through"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "triage_notes",
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("triage_notes_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("triage_notes_pkey")),
        sqlite_strict=True,
    )
    op.add_column("projects", sa.Column("phases", models.Json(), nullable=False, server_default="[]"))
