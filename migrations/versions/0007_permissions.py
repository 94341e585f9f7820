"""Permissions named by what they do, commands and network of projects, refused commands of runs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

RENAMED = {"default": "workspace", "accept_edits": "workspace", "bypass": "unrestricted"}


def upgrade() -> None:
    for name, kind, value in (
        ("allowed_commands", models.Json(), "[]"),
        ("denied_commands", models.Json(), "[]"),
        ("network", models.Flag(), sa.false()),
    ):
        op.add_column("projects", sa.Column(name, kind, nullable=False, server_default=value))
    op.add_column("runs", sa.Column("refusals", models.Json(), nullable=False, server_default="{}"))
    profiles = sa.table("profiles", sa.column("permissions", sa.Text))
    for earlier, policy in RENAMED.items():
        op.execute(sa.update(profiles).where(profiles.c.permissions == earlier).values(permissions=policy))
