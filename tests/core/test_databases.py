"""A database is made beside another and takes its name in one step, or is gone."""

from __future__ import annotations

import psycopg
import pytest

from migrations.databases import Beside, Refused, is_there, server_major
from tests.lab.servers import Servers


def _names(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def test_database_beside_takes_the_name_from_under_open_sessions_and_the_old_one_is_kept(servers: Servers) -> None:
    url = servers.new_database()
    name = url.rpartition("/")[2]
    for round_number in (1, 2):
        session = psycopg.connect(url, autocommit=True)
        session.execute(f"CREATE TABLE before_{round_number} ()")
        with Beside(url).made() as beside:
            with psycopg.connect(beside.url, autocommit=True) as connection:
                connection.execute(f"CREATE TABLE restored_{round_number} ()")
            assert beside.take_the_name() == f"{name}_replaced"
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        for there, table in ((url, "restored"), (f"{url}_replaced", "before")):
            with psycopg.connect(there) as connection:
                connection.execute(f"SELECT FROM {table}_{round_number}")
    assert {each for each in _names(url) if each.startswith(name)} == {name, f"{name}_replaced"}


def test_database_beside_is_gone_where_it_was_not_finished(servers: Servers) -> None:
    url = servers.new_database()
    before = _names(url)
    with pytest.raises(ZeroDivisionError), Beside(url).made():
        assert _names(url) > before
        raise ZeroDivisionError
    assert _names(url) == before


def test_database_that_is_not_there_is_made(servers: Servers) -> None:
    url = servers.new_database().rpartition("/")[0] + "/lost%20and%20found"
    assert not is_there(url)
    with Beside(url).made() as beside:
        assert beside.take_the_name() == ""
    assert is_there(url)
    assert server_major(url) >= 15


def test_server_that_does_not_answer_is_said_in_a_sentence() -> None:
    with pytest.raises(Refused, match="did not do it"):
        is_there("postgresql://app:pw@127.0.0.1:1/longshore")
