"""A run that waits for a person gives its slot back"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("slot_released", models.UtcTime(), nullable=True))
