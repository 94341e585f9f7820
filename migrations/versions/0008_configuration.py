"""Which configuration of the operator and of the repository a run takes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("trusted_digest", sa.Text(), nullable=True))
    op.add_column("profiles", sa.Column("own_configuration", models.Flag(), nullable=False, server_default="1"))
    op.add_column("runs", sa.Column("configuration", models.Json(), nullable=True))
