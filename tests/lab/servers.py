"""One Postgres and one Valkey for a test session, and as many fresh databases in it as are asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from deploy.embedded import EmbeddedPostgres, EmbeddedValkey
from migrations.__main__ import upgrade


class Servers:
    """Started on construction, ended by `stop`. Data lives in a temporary folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="longshore-test-")
        root = Path(self._folder.name)
        self.postgres = EmbeddedPostgres(root / "postgres", root / "run")
        self.valkey = EmbeddedValkey(root / "valkey", root / "run")
        self._url = self.postgres.start()
        self._broker = self.valkey.start()
        self._count = 0
        #: One server has sixteen numbered databases.
        self._brokers = list(range(16))

    def new_database(self) -> str:
        """The URL of an empty, migrated database of its own."""
        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = self._url.rpartition("/")[0] + "/" + name
        upgrade(url)
        return url

    def new_broker(self) -> str:
        """The URL of an empty broker."""
        if not self._brokers:
            raise RuntimeError("all sixteen databases of the test broker are in use")
        head, _, _ = self._broker.rpartition("=")
        return f"{head}={self._brokers.pop(0)}"

    def take_back_broker(self, url: str) -> None:
        """Nobody uses this broker any more: it is emptied, and may be given out again."""
        path, _, number = url.removeprefix("redis+socket://").partition("?virtual_host=")
        with redis.Redis(unix_socket_path=path, db=int(number)) as broker:
            broker.flushdb()
        self._brokers.append(int(number))

    def stop(self) -> None:
        """End both servers and remove their data."""
        self.valkey.remove()
        self.postgres.remove()
        self._folder.cleanup()
