"""Holder, deliveries and failure of an inbox item"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inbox_items", sa.Column("delivered_to", sa.Text(), nullable=True))
    op.add_column("inbox_items", sa.Column("deliveries", models.BigId, nullable=False, server_default="0"))
    op.add_column("inbox_items", sa.Column("failure", sa.Text(), nullable=True))
