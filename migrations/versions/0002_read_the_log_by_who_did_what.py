"""Read the log by who did what"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TOLD = {"sqlite_where": sa.text("run_seq IS NULL"), "postgresql_where": sa.text("run_seq IS NULL")}


def upgrade() -> None:
    op.drop_index("ticket_events_actor", "ticket_events")
    op.create_index("ticket_events_told", "ticket_events", ["id"], **TOLD)
    op.create_index("ticket_events_told_by_actor", "ticket_events", ["actor", "id"], **TOLD)
    op.create_index("ticket_events_told_by_ticket", "ticket_events", ["ticket_id", "id"], **TOLD)
