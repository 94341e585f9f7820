"""The first schema"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

import models

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("expires", models.UtcTime(), nullable=True),
        sa.Column("revoked", models.UtcTime(), nullable=True),
        sa.Column("last_used", models.UtcTime(), nullable=True),
        sa.CheckConstraint(
            "scope IN ('viewer', 'operator', 'orchestrator', 'service')", name=op.f("api_tokens_scope_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_tokens_pkey")),
        sa.UniqueConstraint("name", name=op.f("api_tokens_name_key")),
        sa.UniqueConstraint("token_hash", name=op.f("api_tokens_token_hash_key")),
        sqlite_strict=True,
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("counters_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "heartbeats",
        sa.Column("check", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("ts", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("check", name=op.f("heartbeats_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("idempotency_keys_pkey")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index("idempotency_keys_created", ["created"], unique=False)

    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("leases_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "login_links",
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("expires", models.UtcTime(), nullable=False),
        sa.Column("consumed", models.UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("login_links_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "logins",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("expires", models.UtcTime(), nullable=False),
        sa.Column("revoked", models.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["token_id"], ["api_tokens.id"], name=op.f("logins_token_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("logins_pkey")),
        sa.UniqueConstraint("secret_hash", name=op.f("logins_secret_hash_key")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("logins", schema=None) as batch_op:
        batch_op.create_index("logins_expires", ["expires"], unique=False)

    op.create_table(
        "profiles",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("context_size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("effort", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("argv", models.Json(), nullable=False),
        sa.Column("env_allow", models.Json(), nullable=False),
        sa.Column("limits", models.Json(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint("mode IN ('headless', 'tui', 'external')", name=op.f("profiles_mode_known")),
        sa.PrimaryKeyConstraint("name", name=op.f("profiles_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "programs",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("found", models.Flag(), nullable=False),
        sa.Column("logged_in", models.Flag(), nullable=True),
        sa.Column("advice", sa.Text(), nullable=False),
        sa.Column("checked", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("host", "name", name=op.f("programs_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "project_drafts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("clone", models.Flag(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("facts", models.Json(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("answered", models.UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('asked', 'ready', 'failed')", name=op.f("project_drafts_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("project_drafts_pkey")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("project_drafts", schema=None) as batch_op:
        batch_op.create_index("project_drafts_state", ["state", "id"], unique=False)

    op.create_table(
        "projects",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("base_branch", sa.Text(), nullable=False),
        sa.Column("clone_url", sa.Text(), nullable=True),
        sa.Column("check_command", models.Json(), nullable=True),
        sa.Column("setup_command", models.Json(), nullable=True),
        sa.Column("link_files", models.Json(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("max_runs", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("archived", models.Flag(), nullable=False),
        sa.Column("version", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint("gate IN ('none', 'checks', 'reviewer', 'person')", name=op.f("projects_gate_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("projects_pkey")),
        sa.UniqueConstraint("slug", name=op.f("projects_slug_key")),
        sqlite_strict=True,
    )
    op.create_table(
        "saved_views",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("saved_views_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("switches_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "task_runs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("summary", models.Json(), nullable=True),
        sa.Column("output_tail", sa.Text(), nullable=False),
        sa.Column("started", models.UtcTime(), nullable=False),
        sa.Column("ended", models.UtcTime(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('acted', 'noop', 'skipped', 'warning', 'failed')", name=op.f("task_runs_outcome_known")
        ),
        sa.CheckConstraint("trigger IN ('timer', 'operator', 'event')", name=op.f("task_runs_trigger_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("task_runs_pkey")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("task_runs", schema=None) as batch_op:
        batch_op.create_index("task_runs_by_task", ["task", "id"], unique=False)
        batch_op.create_index("task_runs_started", ["started"], unique=False)

    op.create_table(
        "task_states",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("enabled", models.Flag(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed", models.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("task", name=op.f("task_states_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "agents",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("aliases", models.Json(), nullable=False),
        sa.Column("runnable", models.Flag(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.Column("capacity", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cooldown_until", models.UtcTime(), nullable=True),
        sa.Column("cooldown_reason", sa.Text(), nullable=True),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint("kind IN ('human', 'agent', 'council', 'controller')", name=op.f("agents_kind_known")),
        sa.ForeignKeyConstraint(["profile"], ["profiles.name"], name=op.f("agents_profile_fkey")),
        sa.PrimaryKeyConstraint("name", name=op.f("agents_pkey")),
        sqlite_strict=True,
    )
    op.create_table(
        "tickets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("assigned_to", sa.Text(), nullable=True),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("campaign_owner", sa.Text(), nullable=True),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("resume", models.Flag(), nullable=False),
        sa.Column("next_mode", sa.Text(), nullable=True),
        sa.Column("return_to", sa.Text(), nullable=True),
        sa.Column("not_before", models.UtcTime(), nullable=True),
        sa.Column("wake", models.Json(), nullable=True),
        sa.Column("wake_at", models.UtcTime(), nullable=True),
        sa.Column("wake_ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("block", models.Json(), nullable=True),
        sa.Column("expected_check_in", models.UtcTime(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("faults", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_failure", sa.Text(), nullable=True),
        sa.Column("acceptance", models.Json(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=True),
        sa.Column("last_gate", sa.Text(), nullable=True),
        sa.Column("archived", models.Flag(), nullable=False),
        sa.Column("version", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("pruned_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("updated", models.UtcTime(), nullable=False),
        sa.Column("closed", models.UtcTime(), nullable=True),
        sa.CheckConstraint("gate IN ('none', 'checks', 'reviewer', 'person')", name=op.f("tickets_gate_known")),
        sa.CheckConstraint(
            "status IN ('inbox', 'todo', 'in_progress', 'needs_input', 'in_review', 'waiting', 'blocked', 'done', 'cancelled')",
            name=op.f("tickets_status_known"),
        ),
        sa.CheckConstraint("priority IN (0, 1, 2, 3)", name=op.f("tickets_priority_known")),
        sa.CheckConstraint("next_mode IN ('headless', 'tui', 'external')", name=op.f("tickets_next_mode_known")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("tickets_project_id_fkey")),
        sa.ForeignKeyConstraint(
            ["wake_ticket_id"], ["tickets.id"], name=op.f("tickets_wake_ticket_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("tickets_pkey")),
        sa.UniqueConstraint("identifier", name=op.f("tickets_identifier_key")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("tickets", schema=None) as batch_op:
        batch_op.create_index("tickets_assigned", ["assigned_to", "status", "id"], unique=False)
        batch_op.create_index("tickets_by_status", ["status", "archived", "updated", "id"], unique=False)
        batch_op.create_index("tickets_closed", ["status", "closed"], unique=False)
        batch_op.create_index("tickets_dispatch", ["status", "resume", "priority", "id"], unique=False)
        batch_op.create_index("tickets_project", ["project_id", "status", "id"], unique=False)
        batch_op.create_index("tickets_updated", ["updated", "id"], unique=False)
        batch_op.create_index(
            "tickets_wake_at",
            ["wake_at"],
            unique=False,
            sqlite_where=sa.text("wake_at IS NOT NULL"),
            postgresql_where=sa.text("wake_at IS NOT NULL"),
        )
        batch_op.create_index("tickets_wake_ticket", ["wake_ticket_id"], unique=False)

    op.create_table(
        "attachments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("stored_as", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("attachments_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("attachments_pkey")),
        sa.UniqueConstraint("stored_as", name=op.f("attachments_stored_as_key")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("attachments", schema=None) as batch_op:
        batch_op.create_index("attachments_by_ticket", ["ticket_id", "id"], unique=False)

    op.create_table(
        "inbox_items",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lease_until", models.UtcTime(), nullable=True),
        sa.Column("action", models.Json(), nullable=True),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("settled", models.UtcTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'acted', 'failed')", name=op.f("inbox_items_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("inbox_items_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("inbox_items_pkey")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("inbox_items", schema=None) as batch_op:
        batch_op.create_index("inbox_items_state", ["state", "id"], unique=False)

    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recurrence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("first_seen", models.UtcTime(), nullable=False),
        sa.Column("last_seen", models.UtcTime(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'acknowledged', 'closed')", name=op.f("incidents_state_known")),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("incidents_ticket_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("incidents_pkey")),
        sa.UniqueConstraint("fingerprint", name=op.f("incidents_fingerprint_key")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("incidents", schema=None) as batch_op:
        batch_op.create_index("incidents_state", ["state", "last_seen"], unique=False)

    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("quarantine_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("quarantine_pkey")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.create_index("quarantine_by_ticket", ["ticket_id", "id"], unique=False)
        batch_op.create_index("quarantine_created", ["created"], unique=False)

    op.create_table(
        "queued_messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("offered", models.UtcTime(), nullable=True),
        sa.Column("delivered", models.UtcTime(), nullable=True),
        sa.Column("accepted", models.UtcTime(), nullable=True),
        sa.CheckConstraint("mode IN ('queue', 'interrupt')", name=op.f("queued_messages_mode_known")),
        sa.CheckConstraint(
            "state IN ('queued', 'delivered', 'accepted', 'failed', 'expired')",
            name=op.f("queued_messages_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("queued_messages_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("queued_messages_pkey")),
        sa.UniqueConstraint("uuid", name=op.f("queued_messages_uuid_key")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("queued_messages", schema=None) as batch_op:
        batch_op.create_index("queued_messages_by_ticket", ["ticket_id", "seq"], unique=False)
        batch_op.create_index("queued_messages_changed", ["ticket_id", "changed"], unique=False)
        batch_op.create_index("queued_messages_drain", ["ticket_id", "state", "id"], unique=False)
        batch_op.create_index("queued_messages_state", ["state", "created"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("generation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.Column("program", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("tmux_target", sa.Text(), nullable=True),
        sa.Column("pid", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("pid_started", sa.Text(), nullable=True),
        sa.Column("boot_id", sa.Text(), nullable=True),
        sa.Column("workspace", sa.Text(), nullable=True),
        sa.Column("repository", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("base_sha", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.Text(), nullable=True),
        sa.Column("config_dir", sa.Text(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("resumes", models.Flag(), nullable=False),
        sa.Column("last_run_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("failure_detail", sa.Text(), nullable=True),
        sa.Column("stop_code", sa.Text(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("input_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("output_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cost_usd", sa.Double().with_variant(sa.REAL(), "sqlite"), nullable=True),
        sa.Column("turns", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("live_line", sa.Text(), nullable=True),
        sa.Column("started", models.UtcTime(), nullable=False),
        sa.Column("heartbeat", models.UtcTime(), nullable=True),
        sa.Column("ended", models.UtcTime(), nullable=True),
        sa.CheckConstraint("(state = 'ended') = (ended IS NOT NULL)", name=op.f("runs_ended_has_time")),
        sa.CheckConstraint(
            "failure IN ('authentication', 'rate_limit', 'usage_limit', 'server_error', 'network', 'context_overflow', 'tool_denied', 'protocol_violation', 'timeout', 'crash', 'killed', 'environment', 'budget', 'check_failed', 'agent_failed')",
            name=op.f("runs_failure_known"),
        ),
        sa.CheckConstraint("mode IN ('headless', 'tui', 'external')", name=op.f("runs_mode_known")),
        sa.CheckConstraint(
            "outcome IN ('done', 'review', 'question', 'failed', 'timed_out', 'lost', 'stopped', 'usage_limited', 'protocol_violation')",
            name=op.f("runs_outcome_known"),
        ),
        sa.CheckConstraint(
            "state IN ('starting', 'running', 'waiting', 'idle', 'stopping', 'ended')", name=op.f("runs_state_known")
        ),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("runs_ticket_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("runs_pkey")),
        sa.UniqueConstraint("ticket_id", "generation", name=op.f("runs_ticket_id_generation_key")),
        sa.UniqueConstraint("token_hash", name=op.f("runs_token_hash_key")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(
            "runs_live",
            ["state"],
            unique=False,
            sqlite_where=sa.text("state <> 'ended'"),
            postgresql_where=sa.text("state <> 'ended'"),
        )
        batch_op.create_index(
            "runs_one_live",
            ["ticket_id"],
            unique=True,
            sqlite_where=sa.text("state <> 'ended'"),
            postgresql_where=sa.text("state <> 'ended'"),
        )
        batch_op.create_index("runs_started", ["started"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("config_dir", sa.Text(), nullable=True),
        sa.Column("cwd", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("started", models.UtcTime(), nullable=False),
        sa.Column("last_seen", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("sessions_ticket_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sessions_pkey")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index("sessions_by_ticket", ["ticket_id"], unique=False)

    op.create_table(
        "ticket_comments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("data", models.Json(), nullable=True),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint(
            "author_kind IN ('human', 'run', 'orchestrator', 'service', 'system')",
            name=op.f("ticket_comments_author_kind_known"),
        ),
        sa.CheckConstraint(
            "kind IN ('comment', 'question', 'answer', 'feedback', 'verdict', 'system')",
            name=op.f("ticket_comments_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_comments_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_comments_pkey")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("ticket_comments", schema=None) as batch_op:
        batch_op.create_index("ticket_comments_by_ticket", ["ticket_id", "seq"], unique=False)

    op.create_table(
        "ticket_context",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_context_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_context_pkey")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("ticket_context", schema=None) as batch_op:
        batch_op.create_index("ticket_context_by_ticket", ["ticket_id", "id"], unique=False)

    op.create_table(
        "ticket_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("payload_json", models.Json(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("run_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("block", sa.Text(), nullable=True),
        sa.Column("ts", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_events_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_events_pkey")),
        sa.UniqueConstraint("run_id", "run_seq", name=op.f("ticket_events_run_id_run_seq_key")),
        sa.UniqueConstraint("ticket_id", "seq", name=op.f("ticket_events_ticket_id_seq_key")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("ticket_events", schema=None) as batch_op:
        batch_op.create_index("ticket_events_actor", ["actor", "id"], unique=False)
        batch_op.create_index("ticket_events_ts", ["ts"], unique=False)
        batch_op.create_index(
            "ticket_events_typing",
            ["run_id", "block"],
            unique=False,
            sqlite_where=sa.text("block IS NOT NULL"),
            postgresql_where=sa.text("block IS NOT NULL"),
        )

    op.create_table(
        "ticket_phases",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("choices", models.Json(), nullable=False),
        sa.Column("runbook", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("gate IN ('none', 'checks', 'reviewer', 'person')", name=op.f("ticket_phases_gate_known")),
        sa.CheckConstraint(
            "state IN ('pending', 'current', 'passed', 'waived')", name=op.f("ticket_phases_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_phases_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_phases_pkey")),
        sa.UniqueConstraint("ticket_id", "position", name=op.f("ticket_phases_ticket_id_position_key")),
        sqlite_strict=True,
    )
    op.create_table(
        "ticket_relationships",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("other_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('blocks', 'duplicate_of', 'caused_by', 'child_of', 'relates_to', 'related_to')",
            name=op.f("ticket_relationships_kind_known"),
        ),
        sa.CheckConstraint("ticket_id <> other_id", name=op.f("ticket_relationships_two_tickets")),
        sa.ForeignKeyConstraint(
            ["other_id"], ["tickets.id"], name=op.f("ticket_relationships_other_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_relationships_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_relationships_pkey")),
        sa.UniqueConstraint(
            "ticket_id", "kind", "other_id", name=op.f("ticket_relationships_ticket_id_kind_other_id_key")
        ),
        sqlite_strict=True,
    )
    with op.batch_alter_table("ticket_relationships", schema=None) as batch_op:
        batch_op.create_index("ticket_relationships_other", ["other_id", "kind"], unique=False)

    op.create_table(
        "ticket_tags",
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "tag IN ('bug', 'feature', 'infra', 'refactor', 'research', 'review')", name=op.f("ticket_tags_tag_known")
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_tags_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ticket_id", "tag", name=op.f("ticket_tags_pkey")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("ticket_tags", schema=None) as batch_op:
        batch_op.create_index("ticket_tags_by_tag", ["tag", "ticket_id"], unique=False)

    op.create_table(
        "controllers",
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=True),
        sa.Column("asked_name", sa.Text(), nullable=True),
        sa.Column("since", models.UtcTime(), nullable=False),
        sa.Column("until", models.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("controllers_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("controllers_pkey")),
        sqlite_strict=True,
    )

    op.create_table(
        "evidence",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("data", models.Json(), nullable=True),
        sa.Column("item", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint("source IN ('claim', 'fact')", name=op.f("evidence_source_known")),
        sa.CheckConstraint("status IN ('ok', 'failed', 'missing', 'unknown')", name=op.f("evidence_status_known")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("evidence_run_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("evidence_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("evidence_pkey")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("evidence", schema=None) as batch_op:
        batch_op.create_index("evidence_by_ticket", ["ticket_id", "id"], unique=False)

    op.create_table(
        "run_requests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", models.Json(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("answer", models.Json(), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.Column("answered", models.UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'answered', 'withdrawn')", name=op.f("run_requests_state_known")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("run_requests_run_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("run_requests_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("run_requests_pkey")),
        sa.UniqueConstraint("run_id", "request", name=op.f("run_requests_run_id_request_key")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("run_requests", schema=None) as batch_op:
        batch_op.create_index("run_requests_by_ticket", ["ticket_id", "state"], unique=False)

    op.create_table(
        "ticket_messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("block", sa.Text(), nullable=True),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("data", models.Json(), nullable=True),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("changed", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created", models.UtcTime(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('text', 'thinking', 'tool_call', 'input', 'question', 'approval', 'notice', 'error')",
            name=op.f("ticket_messages_kind_known"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("ticket_messages_run_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("ticket_messages_ticket_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_messages_pkey")),
        sa.UniqueConstraint("run_id", "block", name=op.f("ticket_messages_run_id_block_key")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("ticket_messages", schema=None) as batch_op:
        batch_op.create_index("ticket_messages_by_ticket", ["ticket_id", "seq"], unique=False)
        batch_op.create_index("ticket_messages_changed", ["ticket_id", "changed"], unique=False)
        batch_op.create_index("ticket_messages_created", ["created"], unique=False)

    op.execute("INSERT INTO counters (name, value) VALUES ('ticket', 0)")
    switches = sa.table(
        "switches",
        *(sa.column(name) for name in ("name", "value", "changed_by")),
        sa.column("changed", models.UtcTime()),
    )
    first = {
        "name": "stream_epoch",
        "value": secrets.token_hex(4),
        "changed_by": "mission-control",
        "changed": models.now(),
    }
    op.bulk_insert(switches, [first])
