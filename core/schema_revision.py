"""At which migration the database is."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from core.database import Database

#: undefined_table (PostgreSQL, appendix A).
_NO_TABLE = "42P01"
_REVISION = text("SELECT version_num FROM alembic_version")


def schema_revision(database: Database) -> str:
    """The number of the last migration that the database has had; empty where it has had none.

    Raises Unavailable.
    """
    try:
        with database.statement() as connection:
            return str(connection.execute(_REVISION).scalar() or "")
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _NO_TABLE:
            raise
        return ""
