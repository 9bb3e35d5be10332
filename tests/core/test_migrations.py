"""The migrations make exactly the tables that the rows describe, and can be undone."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from migrations.__main__ import upgrade
from tests.lab.servers import Servers

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def test_migrations_up_check_down_up_agree_with_the_rows(servers: Servers) -> None:
    url = servers.new_database()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database_url"] = url
    command.check(config)
    command.downgrade(config, "base")
    upgrade(url)
    command.check(config)
