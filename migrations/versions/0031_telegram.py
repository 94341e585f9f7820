"""Telegram: bots, pairing codes, people and chats, and what was sent where"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "telegram_bots",
        sa.Column("bot_id", models.BigId, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_update", models.BigId, nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("changed", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("bot_id", name=op.f("telegram_bots_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "telegram_codes",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.Column("attempts", models.BigId, nullable=False),
        sa.Column("expires", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("telegram_codes_pkey")),
        sa.UniqueConstraint("code_hash", name=op.f("telegram_codes_code_hash_key")),
        sqlite_strict=True,
    )
    op.create_table(
        "telegram_people",
        sa.Column("user_id", models.BigId, autoincrement=False, nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("telegram_people_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "telegram_chats",
        sa.Column("chat_id", models.BigId, autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("is_forum", models.Flag(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", name=op.f("telegram_chats_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "telegram_threads",
        sa.Column("chat_id", models.BigId, autoincrement=False, nullable=False),
        sa.Column("ticket_id", models.BigId, nullable=False),
        sa.Column("topic_id", models.BigId, nullable=True),
        sa.Column("message_id", models.BigId, nullable=True),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("telegram_threads_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("chat_id", "ticket_id", name=op.f("telegram_threads_pkey")),
        sqlite_strict=True,
    )
    op.create_index("telegram_threads_by_ticket", "telegram_threads", ["ticket_id"])
    op.create_index("telegram_threads_by_topic", "telegram_threads", ["chat_id", "topic_id"])
    op.create_table(
        "telegram_messages",
        sa.Column("id", models.BigId, nullable=False),
        sa.Column("chat_id", models.BigId, nullable=False),
        sa.Column("message_id", models.BigId, nullable=True),
        sa.Column("alert_key", sa.Text(), nullable=False),
        sa.Column("part", models.BigId, nullable=False),
        sa.Column("ticket_id", models.BigId, nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("alert", models.Json(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("telegram_messages_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("telegram_messages_pkey")),
        sa.UniqueConstraint("alert_key", "chat_id", "part", name=op.f("telegram_messages_alert_key_chat_id_part_key")),
        sa.UniqueConstraint("key", name=op.f("telegram_messages_key_key")),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("telegram_messages_by_message", "telegram_messages", ["chat_id", "message_id"])
    op.create_index("telegram_messages_by_ticket", "telegram_messages", ["ticket_id"])
    op.create_index("telegram_messages_created", "telegram_messages", ["created"])
