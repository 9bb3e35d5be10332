"""How Alembic reaches the database: one connection, under an advisory lock, in one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from core.models import Row

#: Two processes that start together must not both migrate; any constant of our own will do.
_LOCK = 0x10_6E_54_0E


def run() -> None:
    """Run the migrations that were asked for."""
    url = context.config.attributes["database_url"].replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Row.metadata, compare_type=True)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            context.run_migrations()


run()
