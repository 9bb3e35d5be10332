"""Bring the database to the newest revision, one process at a time. Nothing else lives here."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from core.settings import load_settings


def upgrade(database_url: str) -> None:
    """Run every migration that the database at `database_url` does not have yet."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")


if __name__ == "__main__":
    upgrade(load_settings().database_url)
