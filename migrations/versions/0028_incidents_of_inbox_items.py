"""The incident of an inbox item, and who acknowledged an incident"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inbox_items", sa.Column("incident_id", models.BigId, nullable=True))
    op.add_column("incidents", sa.Column("acknowledged_by", sa.Text(), nullable=True))
    op.create_index("inbox_items_incident", "inbox_items", ["incident_id", "id"])
