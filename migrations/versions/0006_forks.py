"""A ticket may begin with a copy of another one's conversation"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KINDS = "kind IN ('blocks', 'duplicate_of', 'caused_by', 'child_of', 'fork_of', 'relates_to', 'related_to')"


def upgrade() -> None:
    # SQLite writes a table anew to change a CHECK, and does not read back that it is STRICT.
    with op.batch_alter_table("ticket_relationships", table_kwargs={"sqlite_strict": True}) as batch_op:
        batch_op.drop_constraint(op.f("ticket_relationships_kind_known"), type_="check")
        batch_op.create_check_constraint(op.f("ticket_relationships_kind_known"), KINDS)
    op.add_column("runs", sa.Column("forks", sa.Text(), nullable=True))
