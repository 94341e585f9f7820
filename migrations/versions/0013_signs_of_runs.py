"""Runs keep their prompt and since when they wait or are silent; a profile may have an instruction of its own"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# An external run counts as silent until it is heard again: there is no other sign of how long it has been.
SILENT = """UPDATE runs SET silence_seconds = 600, silent_after = COALESCE(heartbeat, started)
    WHERE mode = 'external' AND state <> 'ended'"""


def upgrade() -> None:
    op.add_column("profiles", sa.Column("instruction", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("prompt", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("waiting_since", models.UtcTime(), nullable=True))
    op.add_column("runs", sa.Column("silence_seconds", sa.Integer(), nullable=True))
    op.add_column("runs", sa.Column("silent_after", models.UtcTime(), nullable=True))
    op.execute(SILENT)
