"""Order tickets by age and priority"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CHECKED = sa.text("expected_check_in IS NOT NULL AND closed IS NULL")
TRIED = sa.text("attempts > 0 AND closed IS NULL")
SINCE = """UPDATE tickets SET moved = COALESCE(
    (SELECT MAX(ts) FROM ticket_events WHERE ticket_id = tickets.id AND event_type = 'ticket_moved'), created)"""


def upgrade() -> None:
    """The default is there for the rows that exist, and is written over at once."""
    epoch = sa.text("'1970-01-01T00:00:00.000000Z'")
    op.add_column("tickets", sa.Column("moved", models.UtcTime(), nullable=False, server_default=epoch))
    op.execute(SINCE)
    op.create_index("tickets_by_priority", "tickets", ["status", "archived", "priority", "updated", "id"])
    op.create_index("tickets_by_age", "tickets", ["status", "archived", "moved", "id"])
    op.create_index("tickets_by_number", "tickets", ["status", "archived", "id"])
    op.create_index(
        "tickets_check_in", "tickets", ["expected_check_in"], sqlite_where=CHECKED, postgresql_where=CHECKED
    )
    op.create_index("tickets_tried", "tickets", ["attempts"], sqlite_where=TRIED, postgresql_where=TRIED)
