"""Evidence that a project requires, and the hosts whose live routes are fetched"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

PENDING = sa.text("kind = 'live_route' AND status = 'unknown'")


def upgrade() -> None:
    op.add_column("projects", sa.Column("evidence_policy", models.Json(), nullable=False, server_default="[]"))
    op.add_column("projects", sa.Column("live_hosts", models.Json(), nullable=False, server_default="[]"))
    op.create_index("evidence_pending_routes", "evidence", ["id"], sqlite_where=PENDING, postgresql_where=PENDING)
