"""Alembic's entry: always given an open connection by `migrations.upgrade` (or a test), never a URL of its own."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from models import Base, Choice


def render(kind: str, item: Any, _autogen: Any) -> str | Literal[False]:
    """A migration is frozen and must not depend on an enum that changes later: a choice is written as what it stores."""
    if kind == "type" and isinstance(item, Choice):
        return "sa.Integer()" if issubclass(item.kind, int) else "sa.Text()"
    return False


def name_conditions() -> None:
    """Give the condition of each partial index to both dialects, in whose words a migration is written."""
    for index in (index for table in Base.metadata.tables.values() for index in table.indexes):
        for dialect in ("sqlite", "postgresql") if "where" in index.info else ():
            index.dialect_options[dialect]["where"] = index.info["where"]


name_conditions()
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render,
    user_module_prefix="models.",
)
context.run_migrations()
