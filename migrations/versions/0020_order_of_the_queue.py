"""Order the queue by hand, free tags, and saved views of each person"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    op.add_column("tickets", sa.Column("rank", models.BigId, nullable=False, server_default="1000000"))
    op.drop_index("tickets_dispatch", "tickets")
    order = ["status", sa.desc("resume"), "rank", sa.desc("priority"), "id"]
    op.create_index("tickets_queue", "tickets", order)
    with op.batch_alter_table("ticket_tags", table_kwargs=STRICT) as batch_op:
        batch_op.drop_constraint(op.f("ticket_tags_tag_known"), type_="check")
    with op.batch_alter_table("saved_views", table_kwargs=STRICT) as batch_op:
        batch_op.drop_constraint(op.f("saved_views_pkey"), type_="primary")
        batch_op.create_primary_key(op.f("saved_views_pkey"), ["author", "name"])
