"""Channels of alerts with their deliveries, and browsers that are subscribed to push notifications"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

KINDS = "kind IN ('needs_you', 'incident', 'blocked', 'budget', 'message', 'done', 'digest', 'test')"
STATES = "state IN ('pending', 'sent', 'failed', 'suppressed', 'settled')"


def upgrade() -> None:
    op.create_table(
        "alert_channels",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("enabled", models.Flag(), nullable=False),
        sa.Column("kinds", models.Json(), nullable=False),
        sa.Column("projects", models.Json(), nullable=False),
        sa.Column("quiet_hours", sa.Text(), nullable=True),
        sa.Column("digest_time", sa.Text(), nullable=True),
        sa.Column("options", models.Json(), nullable=False),
        sa.Column("cursor", models.BigId, nullable=False),
        sa.Column("changed", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("alert_channels_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("ticket_id", models.BigId, nullable=True),
        sa.Column("alert", models.Json(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("in_digest", models.Flag(), nullable=False),
        sa.Column("attempts", models.BigId, nullable=False),
        sa.Column("due", models.UtcTime(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("settlement", sa.Text(), nullable=True),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("sent", models.UtcTime(), nullable=True),
        sa.CheckConstraint(KINDS, name=op.f("alert_deliveries_kind_known")),
        sa.CheckConstraint(STATES, name=op.f("alert_deliveries_state_known")),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("alert_deliveries_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("alert_deliveries_pkey")),
        sa.UniqueConstraint("channel", "key", name=op.f("alert_deliveries_channel_key_key")),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("alert_deliveries_due", "alert_deliveries", ["channel", "due"])
    op.create_index("alert_deliveries_by_subject", "alert_deliveries", ["subject", "channel"])
    op.create_index("alert_deliveries_by_ticket", "alert_deliveries", ["ticket_id"])
    op.create_index("alert_deliveries_created", "alert_deliveries", ["created"])
    op.create_table(
        "push_subscriptions",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("p256dh", sa.Text(), nullable=False),
        sa.Column("auth", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("push_subscriptions_pkey")),
        sa.UniqueConstraint("endpoint", name=op.f("push_subscriptions_endpoint_key")),
        sqlite_strict=True,
    )
    op.add_column("queued_messages", sa.Column("dismissed", models.UtcTime(), nullable=True))
    # Messages of before do not all stand in needs-you at once.
    op.execute("UPDATE queued_messages SET dismissed = created WHERE state IN ('expired', 'failed')")
    undelivered = sa.text("state IN ('expired', 'failed') AND dismissed IS NULL")
    op.create_index(
        "queued_messages_undelivered",
        "queued_messages",
        ["ticket_id"],
        sqlite_where=undelivered,
        postgresql_where=undelivered,
    )
