"""Projects record the address that is pushed to, and may ask for signed landing commits"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("push_address", sa.Text(), nullable=True))
    op.add_column("projects", sa.Column("sign_landings", models.Flag(), nullable=False, server_default=sa.false()))
    # A person entered the address of a clone, and pushes went to it. One with a log-in in it is not copied.
    op.execute("UPDATE projects SET push_address = clone_url WHERE clone_url NOT LIKE 'http%@%'")
