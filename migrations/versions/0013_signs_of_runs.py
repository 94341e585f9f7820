"""Runs keep their prompt and since when they wait or are silent; a profile may have an instruction of its own"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from alembic import op

import models

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SILENCE_SECONDS = 600
RUNS = sa.table(
    "runs",
    sa.column("mode"),
    sa.column("state"),
    sa.column("silence_seconds", sa.Integer()),
    sa.column("silent_after", models.UtcTime()),
)


def upgrade() -> None:
    op.add_column("profiles", sa.Column("instruction", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("prompt", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("waiting_since", models.UtcTime(), nullable=True))
    op.add_column("runs", sa.Column("silence_seconds", sa.Integer(), nullable=True))
    op.add_column("runs", sa.Column("silent_after", models.UtcTime(), nullable=True))
    _start_silence()


def _start_silence() -> None:
    """Give the external runs of the store their silence limit, which begins with the upgrade."""
    values = {"silence_seconds": SILENCE_SECONDS, "silent_after": models.now() + timedelta(seconds=SILENCE_SECONDS)}
    op.get_bind().execute(sa.update(RUNS).where(RUNS.c.mode == "external", RUNS.c.state != "ended").values(**values))
