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


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render,
    user_module_prefix="models.",
)
context.run_migrations()
