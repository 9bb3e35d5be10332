"""The migrations make exactly the tables that the rows describe, and can be undone."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from core.database import Database
from core.schema_revision import schema_revision
from migrations.__main__ import upgrade
from migrations.head import head
from tests.lab.servers import Servers

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database_url"] = url
    return config


def test_migrations_up_check_down_up_agree_with_the_rows(servers: Servers) -> None:
    url = servers.new_database()
    config = _config(url)
    command.check(config)
    assert schema_revision(Database(url)) == head() == ScriptDirectory.from_config(config).get_current_head()
    command.downgrade(config, "base")
    assert schema_revision(Database(url)) == ""
    upgrade(url)
    command.check(config)


def test_gangs_without_addresses_have_some_of_their_own_once_it_is_undone(servers: Servers) -> None:
    url = servers.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO accounts (id) VALUES ('a')")
        connection.execute("INSERT INTO node_pools (account_id, pool_id) VALUES ('a', 'p')")
        connection.execute(
            "INSERT INTO gang_networks (job_id, attempt, pool_id, driver, subnet) SELECT g.job, g.attempt, p.id,"
            " g.driver, g.subnet FROM node_pools p, (VALUES ('j', 1, 'host', NULL), ('j', 2, 'host', NULL),"
            " ('k', 1, 'bridge', '10.1.0.0/29')) AS g(job, attempt, driver, subnet)"
        )
        command.downgrade(_config(url), "0005")
        found = [row[0] for row in connection.execute("SELECT subnet FROM gang_networks ORDER BY job_id, attempt")]
        assert found[2] == "10.1.0.0/29"
        assert len({IPv4Network(cidr) for cidr in found}) == 3
        upgrade(url)
        kept = list(connection.execute("SELECT driver, subnet FROM gang_networks ORDER BY job_id, attempt"))
        assert kept == [("host", None), ("host", None), ("bridge", "10.1.0.0/29")]
