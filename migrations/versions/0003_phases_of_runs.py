"""Runs know the phase they worked and may ask for changes; what Mission Control itself says of a ticket is found at once"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OUTCOMES = (
    "outcome IN ('done', 'review', 'changes', 'question', 'failed', 'timed_out', 'lost', 'stopped', 'usage_limited',"
    " 'protocol_violation')"
)
# SQLite writes a table anew to change a CHECK, and does not read back that it is STRICT and never gives an id twice.
KEPT = {"sqlite_strict": True, "sqlite_autoincrement": True}


def upgrade() -> None:
    highest = _highest_run()
    with op.batch_alter_table("runs", table_kwargs=KEPT) as batch_op:
        batch_op.add_column(sa.Column("phase", sa.Text(), nullable=True))
        batch_op.drop_constraint(op.f("runs_outcome_known"), type_="check")
        batch_op.create_check_constraint(op.f("runs_outcome_known"), OUTCOMES)
    if highest is not None:
        op.get_bind().execute(sa.text("UPDATE sqlite_sequence SET seq = :seq WHERE name = 'runs'"), {"seq": highest})
    told = {"sqlite_where": sa.text("run_seq IS NULL"), "postgresql_where": sa.text("run_seq IS NULL")}
    op.create_index("ticket_events_told_by_type", "ticket_events", ["ticket_id", "event_type", "seq"], **told)


def _highest_run() -> int | None:
    """The last id that SQLite gave to a run, whether that run is still there or not."""
    if op.get_bind().dialect.name != "sqlite":
        return None
    found: int | None = op.get_bind().scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'runs'"))
    return found
