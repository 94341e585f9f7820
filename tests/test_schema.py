from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from models import Base


def test_the_migrations_make_exactly_the_tables_of_the_models(engine: Engine) -> None:
    comparable = (
        engine.dialect.name == "sqlite"
    )  # PostgreSQL reports a text column as unlike an enumeration kept as text
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": comparable})

        assert compare_metadata(context, Base.metadata) == []
