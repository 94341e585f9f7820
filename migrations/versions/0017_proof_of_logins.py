"""The time at which a logged-in browser last proved who uses it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("logins", sa.Column("proof_at", models.UtcTime(), nullable=True))
