"""Tokens of the orchestrator's runs, and inbox items by ticket and by the time they were settled"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("board_token_hash", sa.Text()))
    condition = sa.text("board_token_hash IS NOT NULL")
    op.create_index(
        "runs_board_token",
        "runs",
        ["board_token_hash"],
        unique=True,
        sqlite_where=condition,
        postgresql_where=condition,
    )
    op.create_index("inbox_items_by_ticket", "inbox_items", ["ticket_id", "kind", "created"])
    op.create_index("inbox_items_settled", "inbox_items", ["settled"])
