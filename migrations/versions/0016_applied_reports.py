"""A run keeps the digest of the report that ended it, so that a repetition of it is recognised"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("report_sha256", sa.Text(), nullable=True))
