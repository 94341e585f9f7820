"""Tokens of triage and reviewers, and what they write"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

SCOPES = "scope IN ('viewer', 'operator', 'orchestrator', 'triage', 'reviewer', 'service')"
AUTHORS = "author_kind IN ('human', 'run', 'orchestrator', 'triage', 'reviewer', 'service', 'system')"


def upgrade() -> None:
    _replace_check("api_tokens", "scope", SCOPES, is_log=False)
    _replace_check("ticket_comments", "author_kind", AUTHORS, is_log=True)
    _replace_check("ticket_plans", "author_kind", AUTHORS, is_log=True)


def _replace_check(table: str, column: str, condition: str, *, is_log: bool) -> None:
    """Replace the CHECK of a column. A log is a table that never gives an id twice."""
    name = op.f(f"{table}_{column}_known")
    last_id = _read_last_id(table) if is_log else None
    # SQLite writes a table anew to change a CHECK, and does not read back that it is STRICT and never gives an id twice.
    with op.batch_alter_table(table, table_kwargs={"sqlite_strict": True, "sqlite_autoincrement": is_log}) as batch_op:
        batch_op.drop_constraint(name, type_="check")
        batch_op.create_check_constraint(name, condition)
    if last_id is not None:
        statement = sa.text("UPDATE sqlite_sequence SET seq = :seq WHERE name = :name")
        op.get_bind().execute(statement, {"seq": last_id, "name": table})


def _read_last_id(table: str) -> int | None:
    """Return the last id that SQLite gave to a row of the table, whether the row is still there or not."""
    if op.get_bind().dialect.name != "sqlite":
        return None
    statement = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    last_id: int | None = op.get_bind().scalar(statement, {"name": table})
    return last_id
